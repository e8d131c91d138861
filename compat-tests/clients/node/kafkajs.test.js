// kafkajs: producer, consumer, group, admin; everything compared with what was sent.
const assert = require('node:assert')
const { randomUUID } = require('node:crypto')
const test = require('node:test')
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const kafka = new Kafka({ clientId: 'node-tests', brokers: [process.env.BOOTSTRAP], logLevel: logLevel.ERROR })
const admin = kafka.admin()
const freshName = () => `node-${randomUUID()}`

test.before(() => admin.connect())
test.after(() => admin.disconnect())

async function freshTopic(numPartitions) {
  const topic = freshName()
  assert.strictEqual(await admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: true }), true)
  return topic
}

async function produce(topic, messages, options = {}) {
  const producer = kafka.producer({ idempotent: options.idempotent })
  await producer.connect()
  const placed = await producer.send({ topic, messages, acks: options.acks ?? -1, compression: options.compression })
  await producer.disconnect()
  return placed
}

async function consume(groupId, topic, count) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 1000, rebalanceTimeout: 10000 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const received = []
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${received.length} of ${count} records`)), 60000)
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        received.push({ partition, ...message })
        if (received.length === count) { clearTimeout(timer); resolve() }
      },
    }).catch(reject)
  })
  await consumer.commitOffsets(await nextOffsets(topic, received))
  await consumer.disconnect()
  return received
}

async function nextOffsets(topic, received) {
  const next = new Map()
  for (const { partition, offset } of received) next.set(partition, Math.max(next.get(partition) ?? 0, Number(offset) + 1))
  return [...next].map(([partition, offset]) => ({ topic, partition, offset: String(offset) }))
}

for (const [name, options] of Object.entries({
  'plain': {}, 'acks 1': { acks: 1 }, 'gzip': { compression: CompressionTypes.GZIP }, 'idempotent': { idempotent: true },
})) {
  test(`round trip, ${name}`, async () => {
    const topic = await freshTopic(2)
    const sent = Array.from({ length: 200 }, (_, index) => ({
      key: index % 3 ? `k${index}` : null, value: `v${index}`, partition: index % 2, headers: { h: ['1', '2'] },
      timestamp: String(1700000000000 + index),
    }))
    await produce(topic, sent, options)
    const received = await consume(freshName(), topic, 200)
    for (const partition of [0, 1]) {
      const actual = received.filter((record) => record.partition === partition)
      const expected = sent.filter((record) => record.partition === partition)
      actual.forEach((record, index) => {
        assert.strictEqual(record.offset, String(index))
        assert.strictEqual(record.value.toString(), expected[index].value)
        assert.strictEqual(record.key === null ? null : record.key.toString(), expected[index].key)
        assert.strictEqual(record.timestamp, expected[index].timestamp)
        assert.deepStrictEqual(record.headers.h.map(String), ['1', '2'])
      })
      assert.strictEqual(actual.length, expected.length)
    }
  })
}

test('a group goes on where it stopped', async () => {
  const topic = await freshTopic(1)
  const group = freshName()
  await produce(topic, [{ value: 'one' }, { value: 'two' }])
  await consume(group, topic, 2)
  await produce(topic, [{ value: 'three' }])
  const received = await consume(group, topic, 1)
  assert.strictEqual(received[0].value.toString(), 'three')
  const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  assert.strictEqual(partitions[0].offset, '3')
  const { groups } = await admin.listGroups()
  assert.ok(groups.some(({ groupId }) => groupId === group))
  await admin.deleteGroups([group])
})

test('admin: topics, partitions, offsets, configuration, records', async () => {
  const topic = await freshTopic(1)
  assert.strictEqual(await admin.createTopics({ topics: [{ topic }] }), false)
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.strictEqual(topics[0].partitions.length, 3)
  await produce(topic, Array.from({ length: 10 }, (_, index) => ({ value: `${index}`, partition: 0 })))
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
  const [{ low, high }] = (await admin.fetchTopicOffsets(topic)).filter(({ partition }) => partition === 0)
  assert.deepStrictEqual([low, high], ['4', '10'])
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic, configEntries: [{ name: 'retention.ms', value: '60000' }] }] })
  const { resources } = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: 2, name: topic }] })
  assert.strictEqual(resources[0].configEntries.find(({ configName }) => configName === 'retention.ms').configValue, '60000')
  const { brokers } = await admin.describeCluster()
  assert.strictEqual(brokers.length, 1)
  await admin.deleteTopics({ topics: [topic] })
  assert.ok(!(await admin.listTopics()).includes(topic))
})
