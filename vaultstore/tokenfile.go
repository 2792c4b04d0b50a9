package vaultstore

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// statInterval is how often a token file is looked at, at most.
const statInterval = time.Second

// tokenFile is the session of a token that somebody else, such as a Vault Agent,
// puts into a file and keeps alive.
type tokenFile struct {
	name string
	log  func() *slog.Logger

	mu      sync.Mutex
	current *vaultToken // nil: the file was never readable
	err     error       // why the file cannot be read now
	seen    os.FileInfo
	looked  time.Time
}

func (f *tokenFile) token(context.Context) (*vaultToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) >= statInterval {
		f.look(false)
	}
	if f.current == nil {
		return nil, f.err
	}
	return f.current, nil
}

func (f *tokenFile) replace(_ context.Context, refused *vaultToken) (*vaultToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == refused {
		f.look(true)
	}
	if f.current == refused {
		return nil, nil
	}
	return f.current, nil
}

// run reads the file, so that the log says at once when it is not there.
func (f *tokenFile) run(ctx context.Context, obtained func(context.Context)) {
	if _, err := f.token(ctx); err == nil {
		obtained(ctx)
	}
}

// look reads the file if it changed, or in any case. A token stays when its file
// is gone or unreadable: it may still be good. The caller holds mu.
func (f *tokenFile) look(always bool) {
	f.looked = time.Now()
	// Before reading, so that a change in between is seen the next time.
	info, err := os.Stat(f.name)
	if err == nil && !always && f.err == nil && isUnchanged(f.seen, info) {
		return
	}
	var token string
	if err == nil {
		token, err = readSecret(f.name)
	}
	if err != nil {
		err = fmt.Errorf("reading the token of Vault: %w", err)
		if f.err == nil {
			f.log().Warn("cannot read the token file of Vault", "error", err)
		}
		f.err = err
		return
	}
	if f.err != nil {
		f.log().Info("read the token file of Vault again")
	}
	f.err, f.seen = nil, info
	if f.current == nil || f.current.token != token {
		f.current = &vaultToken{token, f.looked}
	}
}

func isUnchanged(before, now os.FileInfo) bool {
	return before != nil && os.SameFile(before, now) && before.Size() == now.Size() && before.ModTime().Equal(now.ModTime())
}
