//! A configuration file, its values, the names of variables, and seed files.
#![no_main]

mod memory;

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use ottla::config::{BrokerConfig, Declarations, LogConfig, parse_properties, property_of_variable};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let _ = property_of_variable(&text);
    let _ = Declarations::default().add_seed_file("seeds", &text, &BrokerConfig::default());
    let Ok(properties) = parse_properties("server.properties", &text) else { return };
    let properties: BTreeMap<String, String> =
        properties.into_iter().map(|property| (property.key, property.value)).collect();
    if let Ok(config) = BrokerConfig::new(properties.clone()) {
        let _ = LogConfig::from_overrides(&config, &properties);
    }
});
