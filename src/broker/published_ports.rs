//! Which listeners' ports the host of this container publishes under the same number: a connection to oneself, through the
//! gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::ApiVersionsRequest;

use crate::api::Services;
use crate::client::Client;

/// How long the way through the gateway and back may take. A firewall may swallow it.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// Probes in the background; outside of containers there is nothing to do.
pub(super) fn find_out(services: &Arc<Services>, listeners: &[(String, SocketAddr)]) {
    for (listener, address) in listeners {
        let Some((gateway, name)) = services.advertised.probe(listener) else { continue };
        let (services, target) = (Arc::clone(services), SocketAddr::new(gateway, address.port()));
        let spawn = Arc::clone(&services.env.spawn);
        let probe = async move {
            let until = services.env.clock.monotonic() + PROBE_TIME;
            tokio::select! {
                () = probe(target, &name) => {}
                () = services.env.clock.sleep_until(until) => {}
            }
        };
        spawn.spawn("published-port", Box::pin(probe));
    }
}

/// Introduces itself there. Whoever hears it knows: this broker, if the way leads here.
async fn probe(target: SocketAddr, name: &str) {
    let Ok(mut client) = Client::connect(target).await else { return };
    client.set_client_id(Some(name));
    // Another's answer is of no interest, and neither is its refusal.
    let _ = client.call(0, &ApiVersionsRequest::default()).await;
}
