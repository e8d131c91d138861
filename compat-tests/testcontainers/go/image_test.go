// Package ottla_test starts our image with testcontainers-go's Kafka module.
package ottla_test

import (
	"context"
	"fmt"
	"os"
	"sort"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

func client(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	created, err := kgo.NewClient(append(options, kgo.AllowAutoTopicCreation())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(created.Close)
	return created
}

func read(ctx context.Context, t *testing.T, brokers []string, topic string, count int) []string {
	t.Helper()
	consumer := client(t, kgo.SeedBrokers(brokers...), kgo.ConsumerGroup("readers-of-"+topic), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var values []string
	for len(values) < count {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(values), count, err)
		}
		fetches.EachRecord(func(record *kgo.Record) { values = append(values, string(record.Value)) })
	}
	if err := consumer.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	return values
}

func TestImage(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	container, err := kafka.Run(ctx, os.Getenv("OTTLA_IMAGE"), kafka.WithClusterID("MkU3OEVBNTcwNTJENDM2Qk"))
	testcontainers.CleanupContainer(t, container)
	if err != nil {
		t.Fatal(err)
	}
	brokers, err := container.Brokers(ctx)
	if err != nil {
		t.Fatal(err)
	}

	producer := client(t, kgo.SeedBrokers(brokers...))
	var numbers []string
	var records []*kgo.Record
	for number := range 1000 {
		numbers = append(numbers, fmt.Sprintf("%03d", number))
		records = append(records, &kgo.Record{Topic: "numbers", Value: []byte(numbers[number])})
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	seen := read(ctx, t, brokers, "numbers", len(numbers))
	sort.Strings(seen)
	if fmt.Sprint(seen) != fmt.Sprint(numbers) {
		t.Fatalf("other numbers were read: %v", seen)
	}

	// What is aborted comes first: a reader that saw it would count it among the ten.
	transactional := client(t, kgo.SeedBrokers(brokers...), kgo.TransactionalID("one"))
	for _, decision := range []string{"abort", "commit"} {
		if err := transactional.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			record := &kgo.Record{Topic: "transactions", Value: []byte(decision)}
			if err := transactional.ProduceSync(ctx, record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := transactional.EndTransaction(ctx, kgo.TransactionEndTry(decision == "commit")); err != nil {
			t.Fatal(err)
		}
	}
	for _, value := range read(ctx, t, brokers, "transactions", 10) {
		if value != "commit" {
			t.Fatalf("%q of a transaction that was aborted", value)
		}
	}
}
