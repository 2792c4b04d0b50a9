package localstore

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// maxBatch is how many writes share a transaction.
const maxBatch = 256

// write is a change of one entry that waits for its turn.
type write struct {
	ctx   context.Context
	place []byte
	// change returns what the entry is to be, or an error that leaves it as it is.
	change func(current entry) (entry, error)
	done   chan error // takes one
}

// write changes the entry of key and returns once the change is on the disk. An
// error of change is returned as it is.
func (db *database) write(ctx context.Context, key credential.Key, change func(entry) (entry, error)) error {
	w := &write{ctx: ctx, place: place(key), change: change, done: make(chan error, 1)}
	select {
	case db.writes <- w:
	case <-db.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commitWrites makes the writes that come, and those that came while it was busy in one
// transaction, as an fsync takes longer than all else. bbolt's own Batch would let
// each wait for others even where there are none.
func (db *database) commitWrites() {
	for {
		select {
		case w := <-db.writes:
			db.commit(db.gather(w))
		case <-db.closing:
			return
		}
	}
}

// gather returns first and the writes that wait behind it.
func (db *database) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < maxBatch {
		select {
		case w := <-db.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit makes a batch of writes, each seeing those before it, and answers them.
func (db *database) commit(batch []*write) {
	answers := make([]error, len(batch))
	var writes uint64
	err := guard(func() error {
		return db.bolt.Update(func(tx *bbolt.Tx) error {
			for i, w := range batch {
				var broken error
				var written uint64
				if written, answers[i], broken = db.apply(tx, w); broken != nil {
					return broken
				}
				writes = max(writes, written)
			}
			return nil
		})
	})
	if err == nil && writes > 0 {
		db.known.Store(writes)
	}
	for i, w := range batch {
		if err != nil {
			answers[i] = err
		}
		w.done <- answers[i]
	}
}

// apply makes one write, and returns the number of writes. Its answer concerns this write
// alone and comes with no change; broken means that the whole transaction is to be given up.
func (db *database) apply(tx *bbolt.Tx, w *write) (writes uint64, answer, broken error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err, nil // Nobody waits for it any more.
	}
	current, err := db.load(tx, w.place, db.known.Load())
	if err != nil {
		return 0, err, nil
	}
	next, err := w.change(current)
	if err != nil {
		return 0, err, nil
	}
	next.writtenAt = time.Now()
	writes, err = db.save(tx, w.place, next)
	return writes, nil, err
}
