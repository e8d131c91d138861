//! A client of a cluster against a node that is made of answers.
#![allow(clippy::disallowed_methods, reason = "tests of real sockets wait in real time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, MetadataResponse,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::kafka_error;
use crate::env::SystemClock;
use crate::wire::{RequestHeader, encode_response};

/// What the node has seen, and how it misbehaves.
#[derive(Default)]
struct Node7 {
    port: u16,
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// Requests after which a connection is closed without an answer, once.
    closes_after: AtomicUsize,
    /// How often `FindCoordinator` is answered `COORDINATOR_NOT_AVAILABLE`.
    unavailable: AtomicUsize,
}

impl Node7 {
    fn answer(&self, header: &RequestHeader) -> Bytes {
        let api = |key, min, max| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
        let (version, id) = (header.api_version, header.correlation_id);
        let frame = match header.api_key {
            18 => {
                let keys = vec![api(3, 0, 9), api(10, 0, 4), api(12, 0, 3), api(18, 0, 4)];
                encode_response(&ApiVersionsResponse::default().with_api_keys(keys), version, id)
            }
            3 => {
                let broker = MetadataResponseBroker::default()
                    .with_node_id(BrokerId(7))
                    .with_host("127.0.0.1".into())
                    .with_port(self.port.into());
                let response = MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BrokerId(7));
                encode_response(&response, version, id)
            }
            10 => {
                let left =
                    self.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                let coordinator = Coordinator::default()
                    .with_key("g".into())
                    .with_node_id(BrokerId(7))
                    .with_host("127.0.0.1".into())
                    .with_port(self.port.into())
                    .with_error_code(if left.is_ok() { 15 } else { 0 });
                encode_response(&FindCoordinatorResponse::default().with_coordinators(vec![coordinator]), version, id)
            }
            _ => encode_response(&HeartbeatResponse::default().with_error_code(27), version, id),
        };
        frame.expect("encodes")
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        while let Ok(length) = stream.read_u32().await {
            let mut frame = vec![0; length as usize];
            stream.read_exact(&mut frame).await.expect("a frame");
            let seen = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
            if seen == self.closes_after.load(Ordering::SeqCst) {
                return;
            }
            let header = RequestHeader::decode(&mut Bytes::from(frame)).expect("a header");
            stream.write_all(&self.answer(&header)).await.expect("written");
        }
    }
}

async fn node(prepare: impl FnOnce(&mut Node7)) -> Arc<Node7> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut node = Node7 { port: listener.local_addr().expect("an address").port(), ..Node7::default() };
    prepare(&mut node);
    let node = Arc::new(node);
    let served = Arc::clone(&node);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&served).serve(stream));
        }
    });
    node
}

async fn client(port: u16, more: &[(&str, &str)]) -> ClusterClient {
    let mut properties = BTreeMap::from([("bootstrap.servers".to_owned(), format!("127.0.0.1:{port}"))]);
    properties.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let config = ClientConfig::from_properties(properties, "me").expect("a configuration");
    ClusterClient::open(config, Arc::new(SystemClock::new())).await.expect("a client")
}

async fn heartbeat(client: &mut ClusterClient, to: &Destination) -> i16 {
    let answer = client.call("heartbeat", to, None, |_| HeartbeatRequest::default()).await.expect("an answer");
    answer.error_code
}

#[tokio::test]
async fn one_connection_serves_as_bootstrap_controller_and_coordinator() {
    let node = node(|_| {}).await;
    let mut client = client(node.port, &[]).await;
    let metadata = client.metadata(None, false).await.expect("metadata");
    assert_eq!((metadata.controller_id, metadata.nodes[0].id), (7, 7));
    for to in [Destination::Controller, Destination::Node(7), Destination::Group("g".to_owned()), Destination::Any] {
        assert_eq!(kafka_error(heartbeat(&mut client, &to).await).name, "REBALANCE_IN_PROGRESS");
    }
    assert_eq!(node.connections.load(Ordering::SeqCst), 1);
    let own = client.dedicated(&Destination::Node(7)).await.expect("a connection");
    assert_eq!((own.node_id(), node.connections.load(Ordering::SeqCst)), (7, 2));
}

#[tokio::test]
async fn a_lost_connection_and_a_coordinator_that_is_not_there_yet_are_tried_again() {
    let node = node(|node| {
        node.closes_after = AtomicUsize::new(2);
        node.unavailable = AtomicUsize::new(2);
    })
    .await;
    let mut client = client(node.port, &[("retry.backoff.ms", "1")]).await;
    assert_eq!(heartbeat(&mut client, &Destination::Group("g".to_owned())).await, 27);
    assert_eq!(node.connections.load(Ordering::SeqCst), 2);
    assert_eq!(node.unavailable.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_the_node_does_not_have_is_said_at_once() {
    let node = node(|_| {}).await;
    let mut client = client(node.port, &[]).await;
    let build = |_: i16| kafka_protocol::messages::DescribeClusterRequest::default();
    let error = client.call("listNodes", &Destination::Any, None, build).await.expect_err("no such API");
    assert_eq!(error.to_string(), "The node does not support DESCRIBE_CLUSTER");
    let connection = client.dedicated(&Destination::Any).await.expect("a connection");
    assert_eq!(connection.version_of::<HeartbeatRequest>(None).expect("a version"), 3);
    assert_eq!(connection.version_of::<HeartbeatRequest>(Some(1)).expect("a version"), 1);
}

#[tokio::test]
async fn nobody_there_ends_with_a_timeout() {
    // Bound and not listening any more: nobody else takes the port meanwhile.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
    let limits = [("default.api.timeout.ms", "20"), ("retry.backoff.ms", "1")];
    let mut client = client(port, &limits).await;
    let error = client.metadata(None, false).await.expect_err("nobody there");
    assert_eq!(error.to_string(), "Timed out waiting for a node assignment. Call: listTopics");
}
