// Our image under @testcontainers/kafka, with the steps of a new tag and of an old one. Without KRaft the module waits for a
// ZooKeeper's port beside the broker's, and there is none.
const { test } = require("node:test");
const assert = require("node:assert");
const { KafkaContainer } = require("@testcontainers/kafka");
const { Kafka, logLevel } = require("kafkajs");

const image = process.env.OTTLA_IMAGE;
const olderImage = process.env.OTTLA_OLDER_IMAGE; // the same: below 7.4 the tag tells the module to format the data directory

async function read(kafka, topic, count) {
  const consumer = kafka.consumer({ groupId: `readers-of-${topic}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const values = [];
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${values.length} of ${count} records within 20 s`)), 20000);
    consumer.run({
      eachMessage: async ({ message }) => {
        values.push(message.value.toString());
        if (values.length === count) { clearTimeout(timer); resolve(); }
      },
    });
  });
  await consumer.disconnect();
  return values;
}

async function check(container) {
  const kafka = new Kafka({
    brokers: [`${container.getHost()}:${container.getMappedPort(9093)}`],
    logLevel: logLevel.ERROR,
  });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: "numbers", numPartitions: 3 }, { topic: "transactions" }] });
  await admin.disconnect();

  const numbers = [...Array(1000).keys()].map(String);
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic: "numbers", messages: numbers.map((value) => ({ value })) });
  await producer.disconnect();
  assert.deepEqual((await read(kafka, "numbers", 1000)).sort((a, b) => a - b), numbers);

  // What is aborted comes first: a reader that saw it would count it among the ten.
  const transactional = kafka.producer({ transactionalId: "one", maxInFlightRequests: 1, idempotent: true });
  await transactional.connect();
  for (const decision of ["abort", "commit"]) {
    const transaction = await transactional.transaction();
    await transaction.send({ topic: "transactions", messages: Array(10).fill({ value: decision }) });
    await transaction[decision]();
  }
  await transactional.disconnect();
  assert.deepEqual(await read(kafka, "transactions", 10), Array(10).fill("commit"));
}

test("a tag from 8 on", async () => {
  const container = await new KafkaContainer(image).start();
  await check(container);
  await container.stop();
});

test("an older tag, with KRaft", async () => {
  const container = await new KafkaContainer(olderImage).withKraft().start();
  await check(container);
  await container.stop();
});
