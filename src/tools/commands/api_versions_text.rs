//! What a node speaks, as text (`NodeApiVersions.toString`).

use std::collections::BTreeMap;
use std::fmt::Write;

use kafka_protocol::messages::ApiVersionsResponse;

use crate::wire::api_keys;

/// Every API of Apache Kafka 4.3's client: number, oldest and latest version, whether brokers serve it.
#[rustfmt::skip]
static CLIENT_VERSIONS: &[(i16, i16, i16, bool)] = &[
    (0, 3, 13, true), (1, 4, 18, true), (2, 1, 11, true), (3, 0, 13, true), (8, 2, 10, true), (9, 1, 10, true),
    (10, 0, 6, true), (11, 0, 9, true), (12, 0, 4, true), (13, 0, 5, true), (14, 0, 5, true), (15, 0, 6, true),
    (16, 0, 5, true), (17, 0, 1, true), (18, 0, 4, true), (19, 2, 7, true), (20, 1, 6, true), (21, 0, 2, true),
    (22, 0, 6, true), (23, 2, 4, true), (24, 0, 5, true), (25, 0, 4, true), (26, 0, 5, true), (27, 1, 2, true),
    (28, 0, 5, true), (29, 1, 3, true), (30, 1, 3, true), (31, 1, 3, true), (32, 1, 4, true), (33, 0, 2, true),
    (34, 1, 2, true), (35, 1, 5, true), (36, 0, 2, true), (37, 0, 3, true), (38, 1, 3, true), (39, 1, 2, true),
    (40, 1, 2, true), (41, 1, 3, true), (42, 0, 2, true), (43, 0, 2, true), (44, 0, 1, true), (45, 0, 1, true),
    (46, 0, 0, true), (47, 0, 0, true), (48, 0, 1, true), (49, 0, 1, true), (50, 0, 0, true), (51, 0, 0, true),
    (52, 0, 2, false), (53, 0, 1, false), (54, 0, 1, false), (55, 0, 2, true), (56, 2, 3, false), (57, 0, 2, true),
    (58, 0, 0, false), (59, 0, 1, false), (60, 0, 2, true), (61, 0, 0, true), (62, 0, 4, false), (63, 0, 2, false),
    (64, 0, 0, true), (65, 0, 0, true), (66, 0, 2, true), (67, 0, 0, false), (68, 0, 1, true), (69, 0, 1, true),
    (70, 0, 0, false), (71, 0, 0, true), (72, 0, 0, true), (73, 0, 0, false), (74, 0, 1, true), (75, 0, 0, true),
    (76, 1, 1, true), (77, 1, 1, true), (78, 1, 2, true), (79, 1, 2, true), (80, 0, 1, true), (81, 0, 0, true),
    (82, 0, 0, false), (83, 0, 0, true), (84, 0, 0, true), (85, 0, 1, true), (86, 0, 0, true), (87, 0, 1, true),
    (88, 0, 0, true), (89, 0, 0, true), (90, 0, 1, true), (91, 0, 0, true), (92, 0, 0, true),
];

/// One line an API, in parentheses.
pub(super) fn api_versions_text(response: &ApiVersionsResponse) -> String {
    let mut lines: BTreeMap<i16, String> = BTreeMap::new();
    for api in &response.api_keys {
        let known = CLIENT_VERSIONS.iter().find(|(key, ..)| *key == api.api_key);
        let name = known.and_then(|_| api_keys::name(api.api_key));
        let mut line = match name {
            Some(name) => format!("{name}({}): ", api.api_key),
            None => format!("UNKNOWN({}): ", api.api_key),
        };
        let (min, max) = (api.min_version, api.max_version);
        // Writing to a string does not fail.
        let _ = if min == max { write!(line, "{min}") } else { write!(line, "{min} to {max}") };
        if let Some((_, oldest, latest, _)) = known {
            let usable = max.min(*latest);
            let _ = match (*latest < min, max < *oldest) {
                (true, _) => write!(line, " [unusable: node too new]"),
                (_, true) => write!(line, " [unusable: node too old]"),
                _ => write!(line, " [usable: {usable}]"),
            };
        }
        lines.insert(api.api_key, line);
    }
    for (key, _, _, _) in CLIENT_VERSIONS.iter().filter(|(.., is_of_brokers)| *is_of_brokers) {
        let name = api_keys::name(*key).unwrap_or_default();
        lines.entry(*key).or_insert_with(|| format!("{name}({key}): UNSUPPORTED"));
    }
    let lines: Vec<String> = lines.into_values().collect();
    format!("(\n\t{}\n)", lines.join(",\n\t"))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::api_versions_response::ApiVersion;

    use super::*;

    #[test]
    fn versions_are_told_as_kafka_tells_them() {
        let api = |key, min, max| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
        let response = ApiVersionsResponse::default().with_api_keys(vec![
            api(3, 0, 13),
            api(46, 0, 0),
            api(20, 7, 9),
            api(2, 0, 0),
            api(999, 0, 1),
        ]);
        let text = api_versions_text(&response);
        let has = |line: &str| assert!(text.contains(&format!("\n\t{line}")), "{line}: {text}");
        has("Produce(0): UNSUPPORTED,");
        has("ListOffsets(2): 0 [unusable: node too old],");
        has("Metadata(3): 0 to 13 [usable: 13],");
        has("DeleteTopics(20): 7 to 9 [unusable: node too new],");
        has("ListPartitionReassignments(46): 0 [usable: 0],");
        has("UNKNOWN(999): 0 to 1");
        assert!(!text.contains("Vote(52)"), "only what brokers serve");
    }
}
