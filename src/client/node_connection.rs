//! One connection to a broker whose API versions are known.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Message, Request, StrBytes};
use tokio::net::TcpStream;

use super::connection::Client;
use super::error::ClientError;
use crate::env::Clock;
use crate::wire::api_keys;

/// How this client calls itself (KIP-511).
const SOFTWARE_NAME: &str = "ottla";
/// `UNSUPPORTED_VERSION`.
const UNSUPPORTED_VERSION: i16 = 35;

/// One connection to a broker, owned by one user. After an error of the connection ([`ClientError::is_of_connection`]) it is of
/// no more use.
pub struct NodeConnection {
    client: Client,
    node_id: i32,
    address: String,
    api_versions: ApiVersionsResponse,
    clock: Arc<dyn Clock>,
}

impl NodeConnection {
    /// Connects and asks for the API versions; `node_id` is -1 where it is not known yet.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`] when nobody listens, [`ClientError::Timeout`] after `timeout`, a broker that does not tell
    /// its versions.
    pub async fn open(
        node_id: i32,
        host: &str,
        port: u16,
        client_id: &str,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let address = format!("{host}:{port}");
        let deadline = clock.monotonic() + timeout;
        let connect = async {
            let stream = TcpStream::connect((host, port)).await;
            stream.map_err(|error| ClientError::Disconnected(format!("Connection to {address} failed: {error}")))
        };
        let stream = tokio::select! {
            stream = connect => stream?,
            () = clock.sleep_until(deadline) => return Err(timed_out("connect", &address)),
        };
        let mut client = Client::from_stream(stream)?;
        client.set_client_id(Some(client_id));
        let versions = tokio::select! {
            versions = negotiate(&mut client) => versions?,
            () = clock.sleep_until(deadline) => return Err(timed_out("ApiVersions", &address)),
        };
        ClientError::answer(versions.error_code, None)?;
        Ok(Self { client, node_id, address, api_versions: versions, clock })
    }

    /// The broker's id; -1 where it was not known when the connection was made.
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the broker speaks.
    pub fn api_versions(&self) -> &ApiVersionsResponse {
        &self.api_versions
    }

    /// The connection itself, to send now and receive later.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The highest version of a request that the broker, the codec and `max` have (`NodeApiVersions.latestUsableVersion`).
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] when there is none.
    pub fn version_of<T: Request>(&self, max: Option<i16>) -> Result<i16, ClientError> {
        let name = constant_name(api_keys::name(T::KEY).unwrap_or("request"));
        let offered = self.api_versions.api_keys.iter().find(|api| api.api_key == T::KEY);
        let Some(offered) = offered else {
            return Err(ClientError::Unsupported(format!("The node does not support {name}")));
        };
        let (oldest, newest) = (T::VERSIONS.min, max.unwrap_or(i16::MAX).min(T::VERSIONS.max));
        let version = offered.max_version.min(newest);
        if version < offered.min_version.max(oldest) {
            let (min, max) = (offered.min_version, offered.max_version);
            return Err(ClientError::Unsupported(format!(
                "The node does not support {name} with version in range [{oldest},{newest}]. The supported range is [{min},{max}]."
            )));
        }
        Ok(version)
    }

    /// Sends a request and waits for its answer, at most `timeout`; `build` makes the request for the version that is spoken.
    ///
    /// # Errors
    /// [`ClientError::Timeout`], an API that the broker does not have, errors of the connection. Errors that the answer
    /// itself tells are the caller's to look at.
    pub async fn call<T: Request>(
        &mut self,
        max: Option<i16>,
        timeout: Duration,
        build: impl FnOnce(i16) -> T,
    ) -> Result<T::Response, ClientError> {
        let version = self.version_of::<T>(max)?;
        let request = build(version);
        let deadline = self.clock.monotonic() + timeout;
        let name = api_keys::name(T::KEY).unwrap_or("request");
        let result = tokio::select! {
            result = self.client.call(version, &request) => result,
            () = self.clock.sleep_until(deadline) => return Err(timed_out(name, &self.address)),
        };
        result.map_err(|error| match error {
            ClientError::Io(error) => {
                ClientError::Disconnected(format!("Connection to {} was lost: {error}", self.address))
            }
            error => error,
        })
    }
}

/// `DescribeCluster` as Java's constants are written: `DESCRIBE_CLUSTER`.
fn constant_name(name: &str) -> String {
    let mut constant = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !constant.is_empty() {
            constant.push('_');
        }
        constant.push(character.to_ascii_uppercase());
    }
    constant
}

fn timed_out(what: &str, address: &str) -> ClientError {
    ClientError::Timeout(format!("{what} to {address} timed out"))
}

async fn negotiate(client: &mut Client) -> Result<ApiVersionsResponse, ClientError> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str(SOFTWARE_NAME))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    match client.call(ApiVersionsRequest::VERSIONS.max, &request).await {
        Ok(response) if response.error_code != UNSUPPORTED_VERSION => Ok(response),
        // A broker that does not have this version answers in version 0.
        Ok(_) | Err(ClientError::Codec(_)) => client.call(0, &ApiVersionsRequest::default()).await,
        Err(error) => Err(error),
    }
}
