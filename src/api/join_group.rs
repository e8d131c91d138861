//! JoinGroup (key 11): a member enters a group or comes back to a rebalance (`KafkaApis.handleJoinGroupRequest`).

use std::net::IpAddr;
use std::sync::Arc;

use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::coordinator::GroupRequestContext;

/// First version with a rebalance timeout of its own.
const REBALANCE_TIMEOUT_VERSION: i16 = 1;
/// First version whose protocol name may be null.
const NULLABLE_PROTOCOL_VERSION: i16 = 7;

/// Answers when the rebalance is complete.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    mut request: JoinGroupRequest,
) -> Answer<JoinGroupResponse> {
    let version = context.api_version;
    if version < REBALANCE_TIMEOUT_VERSION {
        request.rebalance_timeout_ms = request.session_timeout_ms;
    }
    let joined = services.groups.join_group(&group_context(context), request);
    Answer::Later(Box::pin(async move {
        let mut response = joined.await;
        if version < NULLABLE_PROTOCOL_VERSION && response.protocol_name.is_none() {
            response.protocol_name = Some(StrBytes::new());
        }
        response
    }))
}

fn group_context(context: &RequestContext) -> GroupRequestContext {
    GroupRequestContext {
        api_version: context.api_version,
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: Arc::from(client_host(context.peer.ip())),
    }
}

/// An address as Java's `InetAddress` prints one without a name: a slash, and IPv6 without abbreviations.
fn client_host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments();
            format!("/{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_as_in_java() {
        let host = |text: &str| client_host(text.parse().expect("an address"));
        assert_eq!(host("127.0.0.1"), "/127.0.0.1");
        assert_eq!(host("::1"), "/0:0:0:0:0:0:0:1");
        assert_eq!(host("::ffff:10.0.0.7"), "/10.0.0.7");
        assert_eq!(host("2001:db8::a"), "/2001:db8:0:0:0:0:0:a");
    }
}
