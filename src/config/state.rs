//! The layers of the broker's configuration, from the strongest: this broker's dynamic values, the cluster's dynamic
//! values, what was given at the start, the defaults (`DynamicBrokerConfig`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::broker_values::BrokerValues;
use super::definition::{ConfigDefinition, ConfigValue, UpdateMode};
use super::known::broker_definition;

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

    fn value_of(&self, definition: &ConfigDefinition) -> ConfigValue {
        let dynamic = [&self.broker, &self.cluster];
        let may_change = definition.update_mode != UpdateMode::ReadOnly;
        let texts = dynamic
            .into_iter()
            .filter(|_| may_change)
            .chain([&*self.fixed])
            .filter_map(|layer| layer.get(definition.name));
        texts.into_iter().find_map(|text| definition.parse(text).ok()).unwrap_or_else(|| definition.default_value())
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
