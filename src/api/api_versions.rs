//! ApiVersions (key 18): what this broker serves (KIP-35, KIP-511, KIP-584).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use super::handler::{self, Answer, CloseReason, RequestContext, Response};
use super::registry::{APIS, ApiEntry};
use super::services::{FeatureRange, Features, Services};

/// First version whose body carries the client's name and version, and features.
const CLIENT_INFORMATION_VERSION: i16 = 3;
/// First version that may carry a supported feature whose lowest level is 0 (KAFKA-17011: older Java clients cannot
/// parse it).
const ZERO_MINIMUM_VERSION: i16 = 4;

/// Answers with the registry's table.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: ApiVersionsRequest,
) -> Answer<ApiVersionsResponse> {
    let version = context.api_version;
    if version >= CLIENT_INFORMATION_VERSION
        && !(is_client_information(&request.client_software_name)
            && is_client_information(&request.client_software_version))
    {
        return Answer::Now(ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code()));
    }
    services.advertised.hear(context);
    Answer::Now(response(APIS, &services.features(), version))
}

/// The answer to a version that we do not know: the layout of v0, and key 18 alone with our range
/// (`ApiVersionsRequest.getErrorResponse`), so that the client can ask again.
pub fn unsupported_version(entry: &ApiEntry, correlation_id: i32) -> Result<Response, CloseReason> {
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![api_version(entry)]);
    handler::encode(entry.name, 0, correlation_id, &response)
}

fn response(apis: &[ApiEntry], features: &Features, version: i16) -> ApiVersionsResponse {
    let mut response = ApiVersionsResponse::default().with_api_keys(apis.iter().map(api_version).collect());
    if version < CLIENT_INFORMATION_VERSION {
        return response;
    }
    response.supported_features = features
        .supported
        .iter()
        .filter(|feature| version >= ZERO_MINIMUM_VERSION || feature.min > 0)
        .map(supported_feature)
        .collect();
    // A level of 0 is the same as the feature not being in force; Kafka never sends it.
    response.finalized_features =
        features.finalized.iter().filter(|feature| feature.max > 0).map(finalized_feature).collect();
    response.finalized_features_epoch = features.finalized_epoch;
    response
}

fn api_version(entry: &ApiEntry) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(entry.key)
        .with_min_version(entry.advertised_min_version)
        .with_max_version(entry.max_version)
}

fn supported_feature(feature: &FeatureRange) -> SupportedFeatureKey {
    SupportedFeatureKey::default()
        .with_name(StrBytes::from_string(feature.name.clone()))
        .with_min_version(feature.min)
        .with_max_version(feature.max)
}

fn finalized_feature(feature: &FeatureRange) -> FinalizedFeatureKey {
    FinalizedFeatureKey::default()
        .with_name(StrBytes::from_string(feature.name.clone()))
        .with_min_version_level(feature.min)
        .with_max_version_level(feature.max)
}

/// Kafka's pattern for the client's software name and version: letters and digits, with `-` and `.` inside.
fn is_client_information(text: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> Features {
        let range = |name: &str, min, max| FeatureRange { name: name.to_owned(), min, max };
        Features {
            supported: vec![range("metadata.version", 7, 27), range("group.version", 0, 1)],
            finalized: vec![range("metadata.version", 27, 27), range("group.version", 0, 0)],
            finalized_epoch: 3,
        }
    }

    #[test]
    fn client_information_follows_kafka_s_pattern() {
        for good in ["librdkafka", "apache-kafka-java", "4.3.0", "a", "confluent-kafka-python", "v1.2-RC1"] {
            assert!(is_client_information(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".1", "1.", "a b", "a_b", "ä", "a/b"] {
            assert!(!is_client_information(bad), "{bad}");
        }
    }

    #[test]
    fn supported_features_from_zero_wait_for_version_4() {
        assert!(response(APIS, &features(), 2).supported_features.is_empty());
        assert_eq!(response(APIS, &features(), 3).supported_features.len(), 1);
        assert_eq!(response(APIS, &features(), 4).supported_features.len(), 2);
    }

    #[test]
    fn finalized_features_at_level_zero_are_left_out() {
        let response = response(APIS, &features(), 4);
        assert_eq!(response.finalized_features.len(), 1);
        assert_eq!(response.finalized_features_epoch, 3);
    }

    #[test]
    fn unknown_version_is_answered_in_the_layout_of_v0_with_key_18_alone() {
        let entry = super::super::registry::find(18).expect("ApiVersions is served");
        let frame = unsupported_version(entry, 7).expect("encodes");
        assert_eq!(frame.chunks.len(), 1);
        let Some(handler::Chunk::Bytes(bytes)) = frame.chunks.first() else { panic!("bytes") };
        assert_eq!(&bytes[..], [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    }
}
