package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/physical"
	bolt "go.etcd.io/bbolt"
)

// boltStore keeps Vault's entries in one bbolt file. Vault's own file backend
// leaves half-written files behind when it is killed and then takes them for
// entries; raft would have to elect itself first. Here an acknowledged write is
// on the disk, and any other is not there at all.
type boltStore struct {
	db *bolt.DB
}

var (
	_ physical.TransactionalBackend = (*boltStore)(nil)

	entriesBucket = []byte("entries")
)

func openBoltStore(name string) (*boltStore, error) {
	db, err := bolt.Open(name, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(entriesBucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &boltStore{db}, nil
}

func (s *boltStore) Close() error { return s.db.Close() }

func (s *boltStore) Put(ctx context.Context, entry *physical.Entry) error {
	return s.update(ctx, func(b *bolt.Bucket) error {
		return b.Put([]byte(entry.Key), entry.Value)
	})
}

func (s *boltStore) Get(ctx context.Context, key string) (entry *physical.Entry, err error) {
	err = s.view(ctx, func(b *bolt.Bucket) error {
		entry = getEntry(b, key)
		return nil
	})
	return entry, err
}

func (s *boltStore) Delete(ctx context.Context, key string) error {
	return s.update(ctx, func(b *bolt.Bucket) error {
		return b.Delete([]byte(key))
	})
}

// List returns the entries right below prefix, and, with a slash at the end,
// the folders there, in order.
func (s *boltStore) List(ctx context.Context, prefix string) (names []string, err error) {
	err = s.view(ctx, func(b *bolt.Bucket) error {
		c := b.Cursor()
		p := []byte(prefix)
		for k, _ := c.Seek(p); k != nil && bytes.HasPrefix(k, p); {
			name := k[len(p):]
			slash := bytes.IndexByte(name, '/')
			if slash < 0 {
				names = append(names, string(name))
				k, _ = c.Next()
				continue
			}
			names = append(names, string(name[:slash+1]))
			// The byte after the slash: past all that is in the folder.
			k, _ = c.Seek([]byte(prefix + string(name[:slash]) + string(rune('/'+1))))
		}
		return nil
	})
	return names, err
}

// Transaction does all of txns or none.
func (s *boltStore) Transaction(ctx context.Context, txns []*physical.TxnEntry) error {
	return s.update(ctx, func(b *bolt.Bucket) error {
		for _, t := range txns {
			var err error
			switch t.Operation {
			case physical.PutOperation:
				err = b.Put([]byte(t.Entry.Key), t.Entry.Value)
			case physical.DeleteOperation:
				err = b.Delete([]byte(t.Entry.Key))
			case physical.GetOperation:
				if entry := getEntry(b, t.Entry.Key); entry != nil {
					t.Entry.Value = entry.Value
				}
			default:
				err = fmt.Errorf("transaction: unknown operation %q", t.Operation)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// getEntry copies the value: bbolt's own is gone with its transaction.
func getEntry(b *bolt.Bucket, key string) *physical.Entry {
	value := b.Get([]byte(key))
	if value == nil {
		return nil
	}
	return &physical.Entry{Key: key, Value: bytes.Clone(value)}
}

func (s *boltStore) update(ctx context.Context, fn func(*bolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.Update(func(tx *bolt.Tx) error { return fn(tx.Bucket(entriesBucket)) })
}

func (s *boltStore) view(ctx context.Context, fn func(*bolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.View(func(tx *bolt.Tx) error { return fn(tx.Bucket(entriesBucket)) })
}
