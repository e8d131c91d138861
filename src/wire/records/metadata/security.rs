//! Records of credentials, tokens, ACLs and quotas.
//!
//! Tables of Kafka's `metadata/src/main/resources/common/metadata/*.json`, release 4.3.

use bytes::Bytes;
use uuid::Uuid;

use crate::wire::message::message;

message! {
    /// A delegation token was made or renewed.
    DelegationTokenRecord, versions 0..=0, flexible from 0 {
        /// Whom the token speaks for.
        owner: String = String::new(), 0;
        /// Who asked for it.
        requester: String = String::new(), 0;
        /// Who may renew it.
        renewers: Vec<String> = Vec::new(), 0;
        /// When it was made.
        issue_timestamp: i64 = 0, 0;
        /// When it ends for good.
        max_timestamp: i64 = 0, 0;
        /// When it ends unless renewed.
        expiration_timestamp: i64 = 0, 0;
        /// The token.
        token_id: String = String::new(), 0;
    }
}

message! {
    /// A SCRAM credential was set.
    UserScramCredentialRecord, versions 0..=0, flexible from 0 {
        /// The user.
        name: String = String::new(), 0;
        /// Code of the SCRAM mechanism.
        mechanism: i8 = 0, 0;
        /// The salt.
        salt: Bytes = Bytes::new(), 0;
        /// What the broker checks the client by.
        stored_key: Bytes = Bytes::new(), 0;
        /// What the client checks the broker by.
        server_key: Bytes = Bytes::new(), 0;
        /// Rounds of hashing.
        iterations: i32 = 0, 0;
    }
}

message! {
    /// A part of a quota entity.
    EntityData, versions 0..=0, flexible from 0 {
        /// `user`, `client-id` or `ip`.
        entity_type: String = String::new(), 0;
        /// Its name; null means the default.
        entity_name: Option<String> = None, 0;
    }
}

message! {
    /// A client quota was set or removed.
    ClientQuotaRecord, versions 0..=0, flexible from 0 {
        /// Whom it limits, as a list of parts.
        entity: Vec<EntityData> = Vec::new(), 0;
        /// Which quota.
        key: String = String::new(), 0;
        /// The limit; meaningless on removal.
        value: f64 = 0.0, 0;
        /// Whether it is removed.
        remove: bool = false, 0;
    }
}

message! {
    /// An ACL was added.
    AccessControlEntryRecord, versions 0..=0, flexible from 0 {
        /// The ACL.
        id: Uuid = Uuid::nil(), 0;
        /// Code of the kind of resource.
        resource_type: i8 = 0, 0;
        /// The resource.
        resource_name: String = String::new(), 0;
        /// Code of how the name matches.
        pattern_type: i8 = 0, 0;
        /// Who is meant, as `Type:name`.
        principal: String = String::new(), 0;
        /// From where.
        host: String = String::new(), 0;
        /// Code of what is done.
        operation: i8 = 0, 0;
        /// Code of allow or deny.
        permission_type: i8 = 0, 0;
    }
}

message! {
    /// An ACL was removed.
    RemoveAccessControlEntryRecord, versions 0..=0, flexible from 0 {
        /// The ACL.
        id: Uuid = Uuid::nil(), 0;
    }
}

message! {
    /// A SCRAM credential was removed.
    RemoveUserScramCredentialRecord, versions 0..=0, flexible from 0 {
        /// The user.
        name: String = String::new(), 0;
        /// Code of the SCRAM mechanism.
        mechanism: i8 = 0, 0;
    }
}

message! {
    /// A delegation token was removed.
    RemoveDelegationTokenRecord, versions 0..=0, flexible from 0 {
        /// The token.
        token_id: String = String::new(), 0;
    }
}
