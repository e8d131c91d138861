//! Feature levels: what a cluster begins with, what UpdateFeatures makes of them, and that they last.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;

use super::controller_tests::Cluster;
use super::{Controller, METADATA_VERSION, METADATA_VERSION_LEVEL, TRANSACTION_VERSION};

/// Feature, level, type of the update.
type Update = (&'static str, i16, i8);

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;
const INVALID_UPDATE_VERSION: i16 = 95;

fn request(updates: &[Update]) -> UpdateFeaturesRequest {
    let update = |(name, level, upgrade_type): &Update| {
        FeatureUpdateKey::default()
            .with_feature(StrBytes::from_string((*name).to_owned()))
            .with_max_version_level(*level)
            .with_upgrade_type(*upgrade_type)
    };
    UpdateFeaturesRequest::default().with_feature_updates(updates.iter().map(update).collect())
}

fn update(controller: &Controller, updates: &[Update]) -> UpdateFeaturesResponse {
    controller.update_features(&request(updates), 2).expect("durable")
}

/// What is wrong with the updates; nothing may have changed then.
fn refused(controller: &Controller, updates: &[Update]) -> String {
    let before = controller.image();
    let response = update(controller, updates);
    assert_eq!(response.error_code, INVALID_UPDATE_VERSION, "{updates:?}");
    assert_eq!(controller.image().provenance, before.provenance, "{updates:?}");
    let message = response.error_message.expect("a message").to_string();
    let reason = message.strip_prefix("The update failed for all features since the following feature had an error: ");
    reason.expect("Kafka's beginning").to_owned()
}

fn level(controller: &Controller) -> i16 {
    controller.image().features.transaction_version().level()
}

#[test]
fn a_new_cluster_has_the_levels_of_kafka_4_3() {
    let controller = Cluster::new().start();
    let image = controller.image();
    let levels: Vec<(&str, i16)> =
        image.features.finalized().iter().map(|(name, level)| (name.as_str(), *level)).collect();
    assert_eq!(levels, [(METADATA_VERSION, METADATA_VERSION_LEVEL), (TRANSACTION_VERSION, 2)]);
}

#[test]
fn a_level_goes_down_and_up_and_lasts_and_its_epoch_rises_with_every_change() {
    let cluster = Cluster::new();
    let controller = cluster.start();
    let mut epoch = controller.image().provenance.last_contained_offset;
    let steps =
        [(1, SAFE_DOWNGRADE), (1, SAFE_DOWNGRADE), (0, UNSAFE_DOWNGRADE), (1, UPGRADE), (2, UPGRADE), (2, UPGRADE)];
    for (wanted, upgrade_type) in steps {
        let response = update(&controller, &[(TRANSACTION_VERSION, wanted, upgrade_type)]);
        assert_eq!((response.error_code, response.error_message), (0, None));
        assert_eq!(level(&controller), wanted);
        let next = controller.image().provenance.last_contained_offset;
        assert!(next > epoch, "{wanted}");
        epoch = next;
    }
    update(&controller, &[(TRANSACTION_VERSION, 1, SAFE_DOWNGRADE)]);
    drop(controller);
    let controller = cluster.start();
    assert_eq!(level(&controller), 1);
    assert!(controller.image().provenance.last_contained_offset > epoch);
}

/// A directory that has agreed on no level, as those of earlier releases: 0 until somebody upgrades it.
#[test]
fn a_cluster_without_the_level_stays_without_until_it_is_upgraded() {
    let cluster = Cluster::new();
    update(&cluster.start(), &[(TRANSACTION_VERSION, 0, SAFE_DOWNGRADE)]);
    let controller = cluster.start();
    assert!(!controller.image().features.finalized().contains_key(TRANSACTION_VERSION));
    assert_eq!(level(&controller), 0);
    update(&controller, &[(TRANSACTION_VERSION, 2, UPGRADE)]);
    assert_eq!(level(&cluster.start()), 2);
}

#[test]
fn what_is_only_looked_at_changes_nothing() {
    let controller = Cluster::new().start();
    let before = controller.image().provenance;
    let request = request(&[(TRANSACTION_VERSION, 0, SAFE_DOWNGRADE)]).with_validate_only(true);
    assert_eq!(controller.update_features(&request, 2).expect("durable").error_code, 0);
    assert_eq!((level(&controller), controller.image().provenance), (2, before));
}

#[test]
fn updates_are_refused_with_the_words_of_kafka() {
    let controller = Cluster::new().start();
    let cases: [(&[Update], &str); 10] = [
        (
            &[(TRANSACTION_VERSION, 3, UPGRADE)],
            "Invalid update version 3 for feature transaction.version. Local controller 1 only supports versions 0-2",
        ),
        (
            &[(TRANSACTION_VERSION, -1, SAFE_DOWNGRADE)],
            "Invalid update version -1 for feature transaction.version. A feature version cannot be less than 0.",
        ),
        (
            &[(TRANSACTION_VERSION, 1, UPGRADE)],
            "Invalid update version 1 for feature transaction.version. Can't downgrade the version of this feature \
             without setting the upgrade type to either safe or unsafe downgrade.",
        ),
        (
            &[(TRANSACTION_VERSION, 1, 0)],
            "Invalid update version 1 for feature transaction.version. The controller does not support the given \
             upgrade type.",
        ),
        (
            &[("group.version", 1, UPGRADE)],
            "Invalid update version 1 for feature group.version. Local controller 1 does not support this feature.",
        ),
        (
            &[("moon.phase", 0, SAFE_DOWNGRADE)],
            "Invalid update version 0 for feature moon.phase. Feature moon.phase not found.",
        ),
        (
            &[(METADATA_VERSION, 31, UPGRADE)],
            "Invalid update version 31 for feature metadata.version. Local controller 1 only supports versions 7-30",
        ),
        (
            &[(METADATA_VERSION, 29, SAFE_DOWNGRADE)],
            "Unsupported metadata.version downgrade from 30 to 29. Refusing to perform the requested downgrade because \
             it might delete metadata information.",
        ),
        (
            &[(METADATA_VERSION, 7, UNSAFE_DOWNGRADE)],
            "Unsupported metadata.version downgrade from 30 to 7. Unsafe metadata downgrade is not supported in this \
             version.",
        ),
        // One that is wrong takes the others with it.
        (
            &[(TRANSACTION_VERSION, 1, SAFE_DOWNGRADE), ("moon.phase", 1, UPGRADE)],
            "Invalid update version 1 for feature moon.phase. Local controller 1 does not support this feature.",
        ),
    ];
    for (updates, reason) in cases {
        assert_eq!(refused(&controller, updates), reason);
    }
    update(&controller, &[(TRANSACTION_VERSION, 1, SAFE_DOWNGRADE)]);
    assert_eq!(
        refused(&controller, &[(TRANSACTION_VERSION, 2, SAFE_DOWNGRADE)]),
        "Invalid update version 2 for feature transaction.version. Can't downgrade to a newer version."
    );
}

#[test]
fn the_last_update_of_a_feature_counts() {
    let controller = Cluster::new().start();
    let updates = [(TRANSACTION_VERSION, 9, UPGRADE), (TRANSACTION_VERSION, 1, SAFE_DOWNGRADE)];
    let response = controller.update_features(&request(&updates), 1).expect("durable");
    assert_eq!((response.error_code, response.results.len(), level(&controller)), (0, 2, 1));
}

#[test]
fn each_feature_has_its_result_until_version_1() {
    let controller = Cluster::new().start();
    for version in 0..=2 {
        let response = controller.update_features(&request(&[(TRANSACTION_VERSION, 2, UPGRADE)]), version);
        let results = response.expect("durable").results;
        assert_eq!(results.len(), usize::from(version < 2), "version {version}");
        assert!(results.iter().all(|result| result.error_code == 0 && result.error_message.as_deref() == Some("NONE")));
        let failed = controller.update_features(&request(&[("moon.phase", 1, UPGRADE)]), version).expect("durable");
        assert!(failed.results.is_empty(), "version {version}");
    }
}
