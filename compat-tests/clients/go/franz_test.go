// Package compat runs franz-go against a broker; everything is compared with what was sent.
package compat

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func client(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(os.Getenv("BOOTSTRAP"))}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func freshTopic(t *testing.T, partitions int32) string {
	t.Helper()
	topic := fmt.Sprintf("go-%d", time.Now().UnixNano())
	response, err := kadm.NewClient(client(t)).CreateTopic(within(t), partitions, 1, nil, topic)
	if err != nil || response.ID == (kadm.TopicID{}) {
		t.Fatalf("create %s: %v, id %v", topic, err, response.ID)
	}
	return topic
}

func consume(t *testing.T, reader *kgo.Client, count int) []*kgo.Record {
	t.Helper()
	ctx, records := within(t), []*kgo.Record(nil)
	for len(records) < count {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	if len(records) != count {
		t.Fatalf("%d records, wanted %d", len(records), count)
	}
	return records
}

func TestRoundTrip(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			topic := freshTopic(t, 3)
			producer := client(t, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			var sent []*kgo.Record
			for i := range 600 {
				sent = append(sent, &kgo.Record{
					Topic: topic, Partition: int32(i % 3), Key: []byte(fmt.Sprint("k", i)), Value: []byte(fmt.Sprint("v", i)),
					Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}, {Key: "n"}},
				})
			}
			if err := producer.ProduceSync(within(t), sent...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			for _, record := range consume(t, client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 600) {
				want := sent[int(record.Offset)*3+int(record.Partition)]
				if string(record.Key) != string(want.Key) || string(record.Value) != string(want.Value) || len(record.Headers) != 3 ||
					record.Headers[0].Key != "h" || string(record.Headers[1].Value) != "2" || record.Headers[2].Value != nil ||
					record.Timestamp.UnixMilli() != want.Timestamp.UnixMilli() {
					t.Fatalf("partition %d offset %d: %+v, wanted %+v", record.Partition, record.Offset, record, want)
				}
			}
		})
	}
}

func TestGroupGoesOnAfterCommit(t *testing.T) {
	topic := freshTopic(t, 2)
	group := topic + "-group"
	producer := client(t, kgo.DefaultProduceTopic(topic))
	for i := range 100 {
		if err := producer.ProduceSync(within(t), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit()}
	first := client(t, options...)
	consume(t, first, 100)
	if err := first.CommitUncommittedOffsets(within(t)); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if err := producer.ProduceSync(within(t), kgo.StringRecord("more")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if records := consume(t, client(t, options...), 1); string(records[0].Value) != "more" {
		t.Fatalf("read %q", records[0].Value)
	}
	lag, err := kadm.NewClient(producer).Lag(within(t), group)
	if err != nil || lag[group].State != "Stable" || lag[group].Lag.Total() != 1 {
		t.Fatalf("lag %+v, %v", lag[group], err)
	}
}

func TestAdmin(t *testing.T) {
	topic := freshTopic(t, 1)
	admin := kadm.NewClient(client(t))
	if _, err := admin.CreatePartitions(within(t), 2, topic); err != nil {
		t.Fatal(err)
	}
	value := "60000"
	if _, err := admin.AlterTopicConfigs(within(t), []kadm.AlterConfig{{Name: "retention.ms", Value: &value}}, topic); err != nil {
		t.Fatal(err)
	}
	configs, err := admin.DescribeTopicConfigs(within(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, config := range configs[0].Configs {
		if config.Key == "retention.ms" {
			found = config.MaybeValue()
		}
	}
	if found != value {
		t.Fatalf("retention.ms is %q", found)
	}
	topics, err := admin.ListTopics(within(t), topic)
	if err != nil || len(topics[topic].Partitions) != 3 {
		t.Fatalf("%v, %v", topics, err)
	}
	producer := client(t, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for range 10 {
		if err := producer.ProduceSync(within(t), kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	deletion := kadm.Offsets{}
	deletion.AddOffset(topic, 0, 4, -1)
	if _, err := admin.DeleteRecords(within(t), deletion); err != nil {
		t.Fatal(err)
	}
	starts, err := admin.ListStartOffsets(within(t), topic)
	if offset, _ := starts.Lookup(topic, 0); err != nil || offset.Offset != 4 {
		t.Fatalf("starts at %+v, %v", offset, err)
	}
	if _, err := admin.DeleteTopics(within(t), topic); err != nil {
		t.Fatal(err)
	}
}
