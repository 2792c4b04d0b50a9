package localstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// lockTimeout is how long a Store waits for another process to let go of the file:
// long enough for one that is about to end.
const lockTimeout = 5 * time.Second

// Store is a [credential.Store] in one local file. Make it with [New].
type Store struct {
	config      Config
	lockTimeout time.Duration

	mu      sync.Mutex
	db      *database // nil until it is open
	opening *attempt  // nil unless one is under way
	closed  bool
}

// attempt is one try to open the file, which all who need it then wait for. Its
// results are there once done is closed.
type attempt struct {
	done chan struct{}
	db   *database
	err  error
}

var _ credential.Store = (*Store)(nil)

// New returns a store that is not open yet. It reports what is wrong with config and
// does not touch the disk.
func New(config Config) (*Store, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Store{config: config, lockTimeout: lockTimeout}, nil
}

// Open opens the file, and makes it and its key if need be. It waits up to 5 s for
// another process that has it. The first use of the store does the same, so that
// Open serves to know of an error early; after an error the next use tries again. It does
// nothing if the store is open.
func (s *Store) Open() error {
	_, err := s.open(context.Background())
	return err
}

// Close gives the file back, after what is being written has been. The store is of no
// use from then on.
func (s *Store) Close() error {
	s.mu.Lock()
	wasClosed, opening := s.closed, s.opening
	s.closed = true
	s.mu.Unlock()
	if opening != nil {
		<-opening.done
	}
	if wasClosed || s.db == nil {
		return nil
	}
	return s.db.close()
}

// open returns the open database. The error is an ErrUnavailable.
func (s *Store) open(ctx context.Context) (*database, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	s.mu.Lock()
	if s.closed || s.db != nil {
		defer s.mu.Unlock()
		if s.closed {
			return nil, unavailable(errClosed)
		}
		return s.db, nil
	}
	try := s.opening
	if try == nil {
		try = &attempt{done: make(chan struct{})}
		s.opening = try
		go s.try(try)
	}
	s.mu.Unlock()

	select {
	case <-try.done:
		if try.err != nil {
			return nil, unavailable(try.err)
		}
		return try.db, nil
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

func (s *Store) try(try *attempt) {
	try.db, try.err = openDatabase(s.config, s.lockTimeout)
	s.mu.Lock()
	s.db, s.opening = try.db, nil
	s.mu.Unlock()
	close(try.done)
}

// Get implements [credential.Store].
func (s *Store) Get(ctx context.Context, key credential.Key) (credential.Document, error) {
	if err := key.Check(); err != nil {
		return credential.Document{}, err
	}
	db, err := s.open(ctx)
	if err != nil {
		return credential.Document{}, err
	}
	e, err := db.read(key)
	switch {
	case err != nil:
		return credential.Document{}, unavailable(err)
	case e.version == 0 || e.deleted:
		return credential.Document{Version: e.version}, credential.ErrNotFound
	}
	return document(e), nil
}

// GetVersion implements [credential.Store]. It keeps the newest version and the
// one before it.
func (s *Store) GetVersion(ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
	if err := key.Check(); err != nil {
		return credential.Document{}, err
	}
	db, err := s.open(ctx)
	if err != nil {
		return credential.Document{}, err
	}
	e, err := db.readVersion(key, version)
	switch {
	case err != nil:
		return credential.Document{}, unavailable(err)
	case e.version == 0 || e.deleted:
		return credential.Document{Version: e.version}, credential.ErrNotFound
	}
	return document(e), nil
}

func document(e entry) credential.Document {
	return credential.Document{Data: e.data, Version: e.version, WrittenAt: e.writtenAt, ReadAt: time.Now()}
}

// Put implements [credential.Store]. After an error of ctx the outcome is unknown.
func (s *Store) Put(ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
	if err := key.Check(); err != nil {
		return 0, err
	}
	if _, err := credential.New(credential.Document{Data: data}); err != nil {
		return 0, err
	}
	// The caller may change data once Put has returned, which it may do before the
	// write is made.
	data = bytes.Clone(data)
	err := s.write(ctx, key, func(current entry) (entry, error) {
		if current.version != version {
			return entry{}, credential.ErrConflict
		}
		return entry{data: data, version: version + 1}, nil
	})
	if err != nil {
		return 0, err
	}
	return version + 1, nil
}

// Delete implements [credential.Store]. It leaves a mark with the version of what
// it deletes, as Vault's soft delete does.
func (s *Store) Delete(ctx context.Context, key credential.Key) error {
	if err := key.Check(); err != nil {
		return err
	}
	err := s.write(ctx, key, func(current entry) (entry, error) {
		if current.version == 0 || current.deleted {
			return entry{}, errNothingToDo
		}
		return entry{version: current.version, deleted: true}, nil
	})
	if errors.Is(err, errNothingToDo) {
		return nil
	}
	return err
}

// List implements [credential.Store]. It names deleted documents too, as Vault does.
func (s *Store) List(ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
	if err := credential.CheckProvider(provider); err != nil {
		return nil, err
	}
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	tenants, err := db.list(provider, after, limit)
	if err != nil {
		return nil, unavailable(err)
	}
	return tenants, nil
}

// errNothingToDo leaves an entry as it is without being a failure.
var errNothingToDo = errors.New("nothing to do")

// write changes the entry of key. Errors that are not of the document are an
// ErrUnavailable.
func (s *Store) write(ctx context.Context, key credential.Key, change func(entry) (entry, error)) error {
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	err = db.write(ctx, key, change)
	if err == nil || errors.Is(err, credential.ErrConflict) || errors.Is(err, errNothingToDo) {
		return err
	}
	return unavailable(err)
}

func unavailable(err error) error {
	return fmt.Errorf("%w: local store: %w", credential.ErrUnavailable, err)
}
