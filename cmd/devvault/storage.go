package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
)

// A data directory holds:
//
//	lock             taken by the one process that uses it
//	vault/vault.db   what Vault stores, sealed
//	vault/init.json  the keys to it
//	new/             both of them, as long as the first start is not through
//
// Initialising a Vault takes many writes, and its keys are known only after the
// last. Done in new/ and then renamed, it has happened as a whole or not at all,
// wherever the process is killed.
const (
	lockName    = "lock"
	currentName = "vault"
	newName     = "new"
	dbName      = "vault.db"
	keysName    = "init.json"
)

// storage is where the core keeps its data.
type storage struct {
	backend physical.Backend
	kind    string
	keys    *keys // nil: nothing is initialised yet

	dir  string // empty: in memory
	lock *os.File
	db   *boltStore
}

// openStorage opens dir, or memory if dir is empty.
func openStorage(dir string) (*storage, error) {
	if dir == "" {
		backend, err := inmem.NewInmem(nil, nil)
		return &storage{backend: backend, kind: "inmem"}, err
	}
	s := &storage{kind: "bolt", dir: dir}
	if err := s.open(); err != nil {
		s.Close()
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return s, nil
}

func (s *storage) open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockFile(filepath.Join(s.dir, lockName)); err != nil {
		return err
	}

	place := filepath.Join(s.dir, currentName)
	switch _, err := os.Stat(place); {
	case err == nil:
		if s.keys, err = readKeys(filepath.Join(place, keysName)); err != nil {
			return err
		}
	case errors.Is(err, os.ErrNotExist):
		place = filepath.Join(s.dir, newName)
		if err := os.RemoveAll(place); err != nil {
			return err
		}
		if err := os.Mkdir(place, 0o700); err != nil {
			return err
		}
	default:
		return err
	}

	if s.db, err = openBoltStore(filepath.Join(place, dbName)); err != nil {
		return err
	}
	s.backend = s.db
	return nil
}

// commit makes a first start count. The database stays open while its directory
// is renamed.
func (s *storage) commit(k keys) error {
	if s.dir == "" {
		return nil
	}
	fresh := filepath.Join(s.dir, newName)
	if err := writeKeys(filepath.Join(fresh, keysName), k); err != nil {
		return err
	}
	if err := syncDir(fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, filepath.Join(s.dir, currentName)); err != nil {
		return err
	}
	s.keys = &k
	return syncDir(s.dir)
}

func (s *storage) Close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// lockFile takes the lock that the kernel gives back when the process is gone,
// however it went. It waits a little, for a predecessor that is about to be.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("in use by another process: %w", err)
		}
	}
}

func readKeys(name string) (*keys, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("it holds an initialised Vault, but %s, without which nobody can unseal it, is missing: "+
			"put that file back, or remove the directory to start with an empty Vault", name)
	}
	if err != nil {
		return nil, err
	}
	k := new(keys)
	if err := json.Unmarshal(data, k); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}

func writeKeys(name string, k keys) error {
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
