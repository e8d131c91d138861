//! Members of a consumer group that run by themselves, and a ledger that notices when two of them own one partition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};

use crate::Message;

/// Who owns what, what was read, and what should not have happened.
#[derive(Clone, Default)]
pub struct Ledger {
    inner: Arc<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    owners: BTreeMap<(String, i32), String>,
    read: Vec<(String, Message)>,
    violations: Vec<String>,
}

impl Ledger {
    /// The partitions of each member that owns any, in order.
    pub fn assignment(&self) -> BTreeMap<String, Vec<(String, i32)>> {
        let mut assignment = BTreeMap::<String, Vec<(String, i32)>>::new();
        for (partition, member) in &self.inner.lock().expect("not poisoned").owners {
            assignment.entry(member.clone()).or_default().push(partition.clone());
        }
        assignment
    }

    /// How many partitions each member owns, by member name.
    pub fn counts(&self) -> Vec<usize> {
        self.assignment().values().map(Vec::len).collect()
    }

    /// Everything that members have read, with the member's name, in the order they did.
    pub fn read(&self) -> Vec<(String, Message)> {
        self.inner.lock().expect("not poisoned").read.clone()
    }

    /// Partitions owned twice, records read by somebody else than the owner.
    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().expect("not poisoned").violations.clone()
    }

    fn own(&self, member: &str, partition: (String, i32)) {
        let mut entries = self.inner.lock().expect("not poisoned");
        if let Some(owner) = entries.owners.insert(partition.clone(), member.to_owned())
            && owner != member
        {
            entries.violations.push(format!("{member} was given {partition:?}, which {owner} has"));
        }
    }

    fn release(&self, member: &str, partition: &(String, i32)) {
        let mut entries = self.inner.lock().expect("not poisoned");
        if entries.owners.get(partition).is_some_and(|owner| owner == member) {
            entries.owners.remove(partition);
        }
    }

    fn note(&self, member: &str, topic: &str, message: Message) {
        let mut entries = self.inner.lock().expect("not poisoned");
        let owner = entries.owners.get(&(topic.to_owned(), message.partition));
        if owner.is_none_or(|owner| owner != member) {
            let violation = format!("{member} read {topic}-{} of {owner:?}", message.partition);
            entries.violations.push(violation);
        }
        entries.read.push((member.to_owned(), message));
    }
}

struct MemberContext {
    name: String,
    ledger: Ledger,
    rebalances: Arc<AtomicUsize>,
}

impl ClientContext for MemberContext {}

impl ConsumerContext for MemberContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let partitions = |list: &rdkafka::TopicPartitionList| -> Vec<(String, i32)> {
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
        };
        match rebalance {
            Rebalance::Assign(list) => {
                self.rebalances.fetch_add(1, Ordering::SeqCst);
                for partition in partitions(list) {
                    self.ledger.own(&self.name, partition);
                }
            }
            Rebalance::Revoke(list) => {
                // What was read is committed before it is given away; refused if the group has already moved on.
                let _ = consumer.commit_consumer_state(CommitMode::Sync);
                for partition in partitions(list) {
                    self.ledger.release(&self.name, &partition);
                }
            }
            Rebalance::Error(_) => {}
        }
    }
}

/// A consumer in a thread of its own, which reads until it is stopped.
pub struct Member {
    rebalances: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Starts a consumer that subscribes to `topics` and commits now and then and before it gives partitions away.
    pub fn start(name: &str, config: &ClientConfig, topics: &[&str], ledger: &Ledger) -> Result<Self> {
        let rebalances = Arc::new(AtomicUsize::new(0));
        let context =
            MemberContext { name: name.to_owned(), ledger: ledger.clone(), rebalances: Arc::clone(&rebalances) };
        // rdkafka polls while it closes a consumer: what it throws away there must not count as read.
        let mut config = config.clone();
        config.set("enable.auto.offset.store", "false");
        let consumer: BaseConsumer<MemberContext> = config.create_with_context(context)?;
        consumer.subscribe(topics)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut read = 0;
                while !stop.load(Ordering::SeqCst) {
                    // Errors are passing ones: the tests look at what was read in the end.
                    let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { continue };
                    let context = consumer.context();
                    context.ledger.note(&context.name, rdkafka::Message::topic(&message), Message::of(&message));
                    let _ = consumer.store_offset_from_message(&message);
                    read += 1;
                    if read % 100 == 0 {
                        let _ = consumer.commit_consumer_state(CommitMode::Async);
                    }
                }
                let _ = consumer.commit_consumer_state(CommitMode::Sync);
            })
        };
        Ok(Self { rebalances, stop, thread: Some(thread) })
    }

    /// How often it was given partitions.
    pub fn rebalances(&self) -> usize {
        self.rebalances.load(Ordering::SeqCst)
    }

    /// Closes the consumer, which leaves the group unless it is a static member, and waits for it.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed; the ledger shows what is missing.
            let _ = thread.join();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.join();
    }
}
