//! The layers of the broker's configuration, from the strongest: this broker's dynamic values, the cluster's dynamic
//! values, what was given at the start, the defaults (`DynamicBrokerConfig`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::broker_values::BrokerValues;
use super::definition::{ConfigDefinition, ConfigValue, UpdateMode};
use super::known::broker_definition;
use super::table;

/// Values as text by name, in each place where they can be given.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    /// Given at the start.
    pub(super) fixed: Arc<BTreeMap<String, String>>,
    /// Dynamic, for all brokers.
    pub(super) cluster: BTreeMap<String, String>,
    /// Dynamic, for this broker.
    pub(super) broker: BTreeMap<String, String>,
}

impl Layers {
    /// The value in force.
    pub(super) fn value(&self, name: &str) -> ConfigValue {
        broker_definition(name).map_or(ConfigValue::Null, |definition| self.value_of(definition))
    }

    fn value_of(&self, definition: &'static ConfigDefinition) -> ConfigValue {
        // A dynamic value hides the weaker ones of its synonyms too (`DynamicBrokerConfig.overrideProps`).
        let synonyms = table::broker_synonyms(definition.name);
        let may_change = definition.update_mode != UpdateMode::ReadOnly;
        for layer in [&self.broker, &self.cluster] {
            let given = layer.get(definition.name).filter(|_| may_change);
            if let Some(value) = given.and_then(|text| definition.parse(text).ok()) {
                return value;
            }
            if synonyms.iter().any(|synonym| synonym.name != definition.name && layer.contains_key(synonym.name)) {
                return definition.default_value();
            }
        }
        let fixed = self.fixed.get(definition.name).and_then(|text| definition.parse(text).ok());
        fixed.unwrap_or_else(|| definition.default_value())
    }

    /// The broker's default of a topic configuration: the first of its broker configurations that has a value, in the
    /// topic's unit; the topic configuration's own default where there is none.
    pub(super) fn topic_default(&self, topic: &ConfigDefinition) -> ConfigValue {
        for synonym in topic.synonyms {
            match self.value(synonym.name) {
                ConfigValue::Null => {}
                // "-1 minutes" is for ever too, not minus one minute.
                ConfigValue::Integer(value) if value < 0 && synonym.unit.factor() > 1 => {
                    return ConfigValue::Integer(-1);
                }
                ConfigValue::Integer(value) => {
                    return ConfigValue::Integer(value.saturating_mul(synonym.unit.factor()));
                }
                value => return value,
            }
        }
        topic.default_value()
    }
}

/// The layers and what they come to.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) layers: Layers,
    pub(super) values: BrokerValues,
}

impl State {
    pub(super) fn new(layers: Layers) -> Self {
        let values = BrokerValues::read(&layers);
        Self { layers, values }
    }
}
