package localstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Whoever can write the file and does not have the key: here by bbolt itself, which
// reads and writes all of it.
type attacker struct {
	t      *testing.T
	former *bbolt.DB // a copy of the file as it was
}

func copyOf(t *testing.T, store *Store) *attacker {
	t.Helper()
	path := t.TempDir() + "/copy"
	if err := store.db.bolt.View(func(tx *bbolt.Tx) error { return tx.CopyFile(path, 0o600) }); err != nil {
		t.Fatal(err)
	}
	former, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { former.Close() })
	return &attacker{t, former}
}

// putsBack gives what is at keys of a bucket its former value, of all keys if none is named.
func (a *attacker) putsBack(tx *bbolt.Tx, bucket []byte, keys ...[]byte) {
	a.t.Helper()
	err := a.former.View(func(old *bbolt.Tx) error {
		from, to := old.Bucket(bucket), tx.Bucket(bucket)
		if keys == nil {
			if err := to.ForEach(func(key, _ []byte) error { keys = append(keys, bytes.Clone(key)); return nil }); err != nil {
				return err
			}
		}
		for _, key := range keys {
			var err error
			if value := from.Get(key); value == nil {
				err = to.Delete(key)
			} else {
				err = to.Put(key, bytes.Clone(value))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

func TestFormerEntryIsNoticed(t *testing.T) {
	at := [][]byte{place(acme)}
	for name, attack := range map[string]func(*attacker, *bbolt.Tx) error{
		"the entry": func(a *attacker, tx *bbolt.Tx) error {
			a.putsBack(tx, bucketCredentials, at...)
			return nil
		},
		"the entry and the one before": func(a *attacker, tx *bbolt.Tx) error {
			a.putsBack(tx, bucketCredentials, at...)
			a.putsBack(tx, bucketPrevious, at...)
			return nil
		},
		"the one before": func(a *attacker, tx *bbolt.Tx) error {
			a.putsBack(tx, bucketPrevious, at...)
			return nil
		},
		"the one before in the place of the entry": func(_ *attacker, tx *bbolt.Tx) error {
			return tx.Bucket(bucketCredentials).Put(place(acme), bytes.Clone(tx.Bucket(bucketPrevious).Get(place(acme))))
		},
		"the entry, moved to the one before": func(_ *attacker, tx *bbolt.Tx) error {
			entry := bytes.Clone(tx.Bucket(bucketCredentials).Get(place(acme)))
			return errors.Join(tx.Bucket(bucketCredentials).Delete(place(acme)), tx.Bucket(bucketPrevious).Put(place(acme), entry))
		},
		"nothing": func(_ *attacker, tx *bbolt.Tx) error {
			return errors.Join(tx.Bucket(bucketCredentials).Delete(place(acme)), tx.Bucket(bucketPrevious).Delete(place(acme)))
		},
		"the entry and the nodes above it": func(a *attacker, tx *bbolt.Tx) error {
			a.putsBack(tx, bucketCredentials, at...)
			a.putsBack(tx, bucketPrevious, at...)
			a.putsBack(tx, bucketIndex)
			return nil
		},
		"the entry and the root": func(a *attacker, tx *bbolt.Tx) error {
			a.putsBack(tx, bucketCredentials, at...)
			a.putsBack(tx, bucketPrevious, at...)
			a.putsBack(tx, bucketMeta)
			return nil
		},
	} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, running %v", name, running), func(t *testing.T) {
				config := configIn(t.TempDir())
				store := openStore(t, config)
				put(t, store, globex, `{"n":1}`, 0)
				for version := range uint64(3) {
					put(t, store, acme, `{"refresh_token":"former"}`, version)
				}
				a := copyOf(t, store)
				put(t, store, acme, `{"refresh_token":"latter"}`, 3)
				if err := store.db.bolt.Update(func(tx *bbolt.Tx) error { return attack(a, tx) }); err != nil {
					t.Fatal(err)
				}
				if !running {
					closeStore(t, store)
					store = openStore(t, config)
				}
				doc, getErr := store.Get(t.Context(), acme)
				_, versionErr := store.GetVersion(t.Context(), acme, 3)
				_, putErr := store.Put(t.Context(), acme, []byte(`{}`), doc.Version)
				for method, err := range map[string]error{"Get": getErr, "GetVersion": versionErr, "Put": putErr, "Delete": store.Delete(t.Context(), acme)} {
					if !errors.Is(err, credential.ErrUnavailable) || !errors.Is(err, errPutBack) || errors.Is(err, credential.ErrNotFound) {
						t.Errorf("%s: error %v", method, err)
					}
				}
			})
		}
	}
}

func TestTenantsApartFromThePutBackOneGoOn(t *testing.T) {
	store := openStore(t, configIn(t.TempDir()))
	put(t, store, globex, `{"n":1}`, 0)
	put(t, store, acme, `{"n":1}`, 0)
	a := copyOf(t, store)
	put(t, store, acme, `{"n":2}`, 1)
	if err := store.db.bolt.Update(func(tx *bbolt.Tx) error { a.putsBack(tx, bucketCredentials, place(acme)); return nil }); err != nil {
		t.Fatal(err)
	}
	put(t, store, globex, `{"n":2}`, 1)
	if doc, err := store.Get(t.Context(), globex); err != nil || doc.Version != 2 {
		t.Errorf("got version %d, %v", doc.Version, err)
	}
	finding := store.Diagnose(t.Context(), []string{"billing"})[1]
	if finding.OK || !strings.Contains(finding.Detail, errPutBack.Error()) || !strings.Contains(finding.Remedy, "who can write") {
		t.Errorf("got %+v", finding)
	}
}

// What cannot be noticed is all of the file as it was: so that one tenant's cannot be had
// back without all that was written since.
func TestWholeFileThatIsPutBack(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	put(t, store, acme, `{"n":1}`, 0)
	put(t, store, globex, `{"n":1}`, 0)
	a := copyOf(t, store)
	put(t, store, acme, `{"n":2}`, 1)
	put(t, store, globex, `{"n":2}`, 1)
	err := store.db.bolt.Update(func(tx *bbolt.Tx) error {
		for _, bucket := range [][]byte{bucketMeta, bucketIndex} {
			a.putsBack(tx, bucket)
		}
		for _, bucket := range [][]byte{bucketCredentials, bucketPrevious} {
			a.putsBack(tx, bucket, place(acme))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), acme); !errors.Is(err, errPutBack) {
		t.Errorf("while it runs: error %v", err)
	}
	closeStore(t, store)
	store = openStore(t, config)
	if doc, err := store.Get(t.Context(), acme); err != nil || doc.Version != 1 {
		t.Errorf("its owner: version %d, error %v", doc.Version, err)
	}
	if _, err := store.Get(t.Context(), globex); !errors.Is(err, errPutBack) {
		t.Errorf("who was written since: error %v", err)
	}
}

func TestNodesThatAreDamagedAreUnavailable(t *testing.T) {
	for level := 1; level <= indexBottom; level++ {
		for name, damage := range map[string]func(*bbolt.Bucket, []byte) error{
			"removed": (*bbolt.Bucket).Delete,
			"changed": func(b *bbolt.Bucket, key []byte) error { return b.Put(key, make([]byte, tagSize)) },
			"empty":   func(b *bbolt.Bucket, key []byte) error { return b.Put(key, nil) },
			"more":    func(b *bbolt.Bucket, key []byte) error { return b.Put(append(key, '0'), make([]byte, tagSize)) },
		} {
			store := openStore(t, configIn(t.TempDir()))
			put(t, store, acme, `{"n":1}`, 0)
			err := store.db.bolt.Update(func(tx *bbolt.Tx) error {
				x, err := store.db.index(tx)
				if err != nil {
					return err
				}
				return damage(x.nodes, node(level, x.digest(place(acme))))
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Get(t.Context(), acme); !errors.Is(err, credential.ErrUnavailable) {
				t.Errorf("level %d, %s: error %v", level, name, err)
			}
		}
	}
}

// sealOld seals as a release without an index did.
func sealOld(t *testing.T, s *sealer, place []byte, e entry) []byte {
	t.Helper()
	aead, err := s.aead(place)
	if err != nil {
		t.Fatal(err)
	}
	header := binary.BigEndian.AppendUint64([]byte{formatNoIndex, stateLive}, e.version)
	header = binary.BigEndian.AppendUint64(header, uint64(e.writtenAt.UnixNano()))
	return aead.Seal(header, nil, e.data, header)
}

// withoutIndex makes a file of a store what a release without an index would have written: an
// entry for each of many tenants, and acme's with the one before.
func withoutIndex(t *testing.T, store *Store) {
	t.Helper()
	s := store.db.sealer
	err := store.db.bolt.Update(func(tx *bbolt.Tx) error {
		err := errors.Join(tx.DeleteBucket(bucketIndex), tx.Bucket(bucketMeta).Delete(metaRoot),
			tx.Bucket(bucketMeta).Put(metaCheck, sealOld(t, s, metaCheck, entry{writtenAt: time.Now()})))
		for i := range 300 {
			at := place(credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprint("t", i))})
			err = errors.Join(err, tx.Bucket(bucketCredentials).Put(at, sealOld(t, s, at, entry{data: []byte(`{}`), version: 1, writtenAt: time.Now()})))
		}
		at := place(acme)
		return errors.Join(err,
			tx.Bucket(bucketPrevious).Put(at, sealOld(t, s, at, entry{data: []byte(`{"n":6}`), version: 6, writtenAt: time.Now()})),
			tx.Bucket(bucketCredentials).Put(at, sealOld(t, s, at, entry{data: []byte(`{"n":7}`), version: 7, writtenAt: time.Now()})))
	})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, store)
}

func TestDatabaseWithoutAnIndexGetsOne(t *testing.T) {
	config := configIn(t.TempDir())
	withoutIndex(t, openStore(t, config))
	store := openStore(t, config)
	for version, want := range map[uint64]string{7: `{"n":7}`, 6: `{"n":6}`} {
		if doc, err := store.GetVersion(t.Context(), acme, version); err != nil || string(doc.Data) != want {
			t.Errorf("version %d: %s, %v", version, doc.Data, err)
		}
	}
	tenants, err := store.List(t.Context(), "billing", "", 1000)
	if err != nil || len(tenants) != 301 {
		t.Fatalf("%d tenants, %v", len(tenants), err)
	}
	for _, tenant := range tenants {
		if _, err := store.Get(t.Context(), credential.Key{Provider: "billing", Tenant: tenant}); err != nil {
			t.Errorf("%s: %v", tenant, err)
		}
	}
	a := copyOf(t, store)
	put(t, store, acme, `{"n":8}`, 7)
	closeStore(t, store)
	store = openStore(t, config)
	if doc, err := store.Get(t.Context(), acme); err != nil || doc.Version != 8 {
		t.Errorf("version %d, %v", doc.Version, err)
	}
	if err := store.db.bolt.Update(func(tx *bbolt.Tx) error { a.putsBack(tx, bucketCredentials, place(acme)); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), acme); !errors.Is(err, errPutBack) {
		t.Errorf("what was there before the index: error %v", err)
	}
}

// Without its index a file looks like one that never had any.
func TestIndexThatWasRemovedIsNotMadeAnew(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	put(t, store, acme, `{"n":1}`, 0)
	if err := store.db.bolt.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketIndex) }); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), acme); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("while it runs: error %v", err)
	}
	closeStore(t, store)
	mustNotOpen(t, config, "its index was removed")

	// The same with all that there was before it had one, but one entry.
	config = configIn(t.TempDir())
	withoutIndex(t, openStore(t, config))
	old, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}
	store = openStore(t, config)
	put(t, store, globex, `{"n":1}`, 0)
	later := raw(t, store, globex)
	closeStore(t, store)
	if err := os.WriteFile(config.Path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	bolt, err := bbolt.Open(config.Path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = bolt.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketCredentials).Put(place(globex), later) })
	if err := errors.Join(err, bolt.Close()); err != nil {
		t.Fatal(err)
	}
	mustNotOpen(t, config, "its index was removed")
}
