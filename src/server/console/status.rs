//! The status as JSON, for people and scripts.

use serde_json::{Value, json};

use super::{Shared, health};
use crate::api::Services;

pub(super) fn answer(shared: &Shared) -> String {
    let uptime = shared.env.clock.monotonic().saturating_sub(shared.started);
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": shared.phase.lock().name(),
        "uptimeSeconds": uptime.as_secs(),
    });
    if let (Some(services), Some(fields)) = (shared.services.get(), status.as_object_mut()) {
        fields.extend(broker(services).into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    format!("{status:#}\n")
}

fn broker(services: &Services) -> Vec<(&'static str, Value)> {
    let image = services.controller.image();
    let metrics = &services.metrics;
    let listeners = metrics.listeners.all();
    let listener = |traffic: &std::sync::Arc<crate::telemetry::ListenerTraffic>| json!({ "name": traffic.name, "connections": traffic.connections() });
    let brokers = image.cluster.brokers().values().map(|broker| {
        let endpoints = broker.endpoints.iter();
        let endpoints =
            endpoints.map(|endpoint| format!("{}://{}:{}", endpoint.listener, endpoint.host, endpoint.port));
        json!({ "id": broker.id, "fenced": broker.fenced, "endpoints": endpoints.collect::<Vec<_>>() })
    });
    let features = image.features.finalized().iter().map(|(name, level)| (name.clone(), json!(level)));
    vec![
        ("nodeId", json!(services.config.node_id())),
        ("clusterId", json!(services.replicas.logs().cluster_id())),
        ("listeners", listeners.iter().map(listener).collect()),
        ("brokers", brokers.collect()),
        ("topics", json!(image.topics.by_name().len())),
        ("partitions", json!(image.topics.by_name().values().map(|topic| topic.partitions.len()).sum::<usize>())),
        ("offlineLogDirs", json!(health::offline_directories(services))),
        ("features", Value::Object(features.collect())),
        ("metadataOffset", json!(image.provenance.last_contained_offset)),
        ("requests", json!(metrics.requests_total.get())),
        ("memoryBudgetBytes", json!(services.env.memory.limit())),
    ]
}
