package localstore

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Buckets of the database, and what is in the first.
var (
	bucketMeta        = []byte("meta")
	bucketCredentials = []byte("credentials")
	bucketPrevious    = []byte("previous") // the version before, at the same place

	metaSalt  = []byte("salt")
	metaCheck = []byte("check") // an entry that opens with the right key alone
)

const saltSize = 32

var (
	errClosed   = errors.New("it is closed")
	errDamaged  = errors.New("it is damaged")
	errInUse    = errors.New("is in use by another process")
	errOtherKey = errors.New("it was sealed with another key")
)

// database is an open file.
type database struct {
	bolt   *bbolt.DB
	sealer *sealer
	known  atomic.Uint64 // how many writes there have been at least

	writes  chan *write
	closing chan struct{}
	writer  sync.WaitGroup
}

// openDatabase opens the file, makes it if need be, and waits for no longer than
// lockTimeout while another process has it.
func openDatabase(config Config, lockTimeout time.Duration) (db *database, err error) {
	if err := os.MkdirAll(filepath.Dir(config.Path), 0o700); err != nil {
		return nil, err
	}
	var file *os.File
	options := &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType, // The other one is slow in large files.
		NoStatistics: true,
		OpenFile: func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(path, flag, mode)
			return file, err
		},
	}
	db = &database{writes: make(chan *write), closing: make(chan struct{})}
	err = guard(func() error {
		if db.bolt, err = bbolt.Open(config.Path, 0o600, options); err != nil {
			return err
		}
		if err := db.checkSize(file); err != nil {
			return err
		}
		return db.unlock(config)
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s %w", config.Path, errInUse)
	case err != nil && db.bolt != nil:
		return nil, errors.Join(fmt.Errorf("%s: %w", config.Path, err), db.bolt.Close())
	case err != nil:
		if file != nil { // Which is closed, unless bbolt panicked.
			unlockFile(file)
			file.Close()
		}
		return nil, fmt.Errorf("%s: %w", config.Path, err)
	}
	db.writer.Go(db.commitWrites)
	return db, nil
}

// checkSize finds a file that was cut off. Its missing pages would be faults.
func (db *database) checkSize(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return db.bolt.View(func(tx *bbolt.Tx) error {
		if info.Size() < tx.Size() {
			return errors.New("the end of the file is missing")
		}
		return nil
	})
}

// unlock reads the key, which a database without content may make, and shows that
// it is the right one.
func (db *database) unlock(config Config) error {
	var salt, check []byte
	var fresh, indexed bool
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(bucketMeta); meta != nil {
			salt = append(salt, meta.Get(metaSalt)...)
			check = append(check, meta.Get(metaCheck)...)
			indexed = tx.Bucket(bucketIndex) != nil
			db.known.Store(writesOf(meta.Get(metaRoot)))
			return nil
		}
		fresh = true
		return tx.ForEach(func([]byte, *bbolt.Bucket) error {
			return errors.New("it is a database of something else")
		})
	})
	if err != nil {
		return err
	}
	key, err := readKey(config.KeyFile)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		if err = makeKey(config.KeyFile); err == nil {
			key, err = readKey(config.KeyFile)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && !fresh:
		return fmt.Errorf("its key is missing: %w", err)
	case err != nil:
		return fmt.Errorf("key file: %w", err)
	case fresh:
		return db.initialize(key, config)
	case len(salt) != saltSize:
		return errors.New("it is damaged, or a database of something else")
	}
	if db.sealer, err = newSealer(key, salt); err != nil {
		return err
	}
	if _, err := db.sealer.open(metaCheck, check); errors.Is(err, errSealed) {
		return fmt.Errorf("%w than the one in %s", errOtherKey, config.KeyFile)
	} else if err != nil {
		return err
	}
	switch {
	case indexed:
		return nil
	case check[0] == entryFormat:
		return errNoIndex
	}
	return db.bolt.Update(db.makeIndex)
}

// initialize gives a new database its content.
func (db *database) initialize(key []byte, config Config) error {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	var err error
	if db.sealer, err = newSealer(key, salt); err != nil {
		return err
	}
	err = db.bolt.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		_, credentialsErr := tx.CreateBucket(bucketCredentials)
		_, previousErr := tx.CreateBucket(bucketPrevious)
		if err := errors.Join(credentialsErr, previousErr, meta.Put(metaSalt, salt)); err != nil {
			return err
		}
		return db.makeIndex(tx)
	})
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(config.Path))
}

// read returns the entry of key, of version 0 if there is none.
func (db *database) read(key credential.Key) (entry, error) {
	var e entry
	known := db.known.Load() // before the transaction, which has these writes then
	err := guard(func() error {
		return db.bolt.View(func(tx *bbolt.Tx) (err error) {
			e, err = db.load(tx, place(key), known)
			return err
		})
	})
	return e, err
}

// readVersion returns the entry of key with a version, one of version 0 if it is
// not kept.
func (db *database) readVersion(key credential.Key, version uint64) (entry, error) {
	var e entry
	known := db.known.Load()
	err := guard(func() error {
		return db.bolt.View(func(tx *bbolt.Tx) (err error) {
			if e, err = db.load(tx, place(key), known); err != nil || e.version == version {
				return err
			}
			if e, err = db.open(tx.Bucket(bucketPrevious), place(key)); err != nil || e.version == version {
				return err
			}
			e = entry{}
			return nil
		})
	})
	return e, err
}

// load returns the entry at place, of version 0 if there is none. At least so many writes
// are known of.
func (db *database) load(tx *bbolt.Tx, place []byte, known uint64) (entry, error) {
	x, err := db.index(tx)
	if err != nil {
		return entry{}, err
	}
	e, err := db.open(x.credentials, place)
	if err == nil {
		err = x.check(place, known)
	}
	if err != nil {
		return entry{}, err
	}
	return e, nil
}

func (db *database) open(bucket *bbolt.Bucket, place []byte) (entry, error) {
	sealed := bucket.Get(place)
	if sealed == nil {
		return entry{}, nil
	}
	return db.sealer.open(place, sealed)
}

// list returns the tenants that have an entry for provider, after a name and in
// order. What lies there under a name that no tenant has is passed over.
func (db *database) list(provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
	var tenants []credential.Tenant
	err := guard(func() error {
		return db.bolt.View(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket(bucketCredentials)
			if bucket == nil {
				return errDamaged
			}
			prefix := place(credential.Key{Provider: provider})
			last := place(credential.Key{Provider: provider, Tenant: after})
			cursor := bucket.Cursor()
			at, _ := cursor.Seek(last)
			if bytes.Equal(at, last) {
				at, _ = cursor.Next()
			}
			for ; len(tenants) < limit && bytes.HasPrefix(at, prefix); at, _ = cursor.Next() {
				if bytes.Compare(at, last) <= 0 {
					return errDamaged // and perhaps a circle
				}
				last = at
				if tenant, err := credential.ParseTenant(string(at[len(prefix):])); err == nil {
					tenants = append(tenants, tenant)
				}
			}
			return nil
		})
	})
	return tenants, err
}

// save puts e at place, and returns the number of writes. What was there is kept as the
// version before, unless e is the mark of its deletion.
func (db *database) save(tx *bbolt.Tx, place []byte, e entry) (uint64, error) {
	sealed, err := db.sealer.seal(place, e)
	if err != nil {
		return 0, err
	}
	x, err := db.index(tx)
	if err != nil {
		return 0, err
	}
	if current := x.credentials.Get(place); current != nil && !e.deleted {
		if err := x.before.Put(place, current); err != nil {
			return 0, err
		}
	}
	if err := x.credentials.Put(place, sealed); err != nil {
		return 0, err
	}
	return x.set(place)
}

// place is where the entry of a key lies. Neither name of a credential can hold the
// slash, and no provider is nameless; what is the sidecar's own begins with '_', as no
// provider does. So no two keys share a place.
func place(key credential.Key) []byte {
	return []byte(key.Provider + "/" + string(key.Tenant))
}

// close ends the writer and gives the file back.
func (db *database) close() error {
	close(db.closing)
	db.writer.Wait()
	return db.bolt.Close()
}

// guard turns into an error what bbolt does where the file is damaged, which is to
// panic or to touch memory that the file does not back.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = errors.New("the file is damaged")
		}
	}()
	return f()
}
