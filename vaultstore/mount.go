package vaultstore

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// mountInterval is how long an answer about the mount stands before a failure is
// a reason to ask again.
const mountInterval = time.Second

// mountCheck finds out whether there is a KV engine of the configured version at
// the mount. The paths of the two versions differ, so that each takes requests
// for the other as requests for secrets that are not there.
type mountCheck struct {
	state atomic.Pointer[mountState] // nil: not known yet
	gate  chan struct{}              // holds one: who asks
}

// mountState is what Vault said of the mount.
type mountState struct {
	confirmed bool  // it is what is configured
	wrong     error // it is not; nil without confirmed: Vault does not tell
	at        time.Time
}

func newMountCheck() *mountCheck { return &mountCheck{gate: make(chan struct{}, 1)} }

// checkMount returns an error if the mount is known to be another one than is
// configured. It asks Vault if it does not know; with again, also if it does, or
// knows that Vault does not tell: not more than once a second.
func (s *Store) checkMount(ctx context.Context, again bool) error {
	if state := s.mount.state.Load(); state != nil && !again && state.wrong == nil {
		return nil
	}
	select {
	case s.mount.gate <- struct{}{}:
		defer func() { <-s.mount.gate }()
	case <-ctx.Done():
		return ctx.Err()
	}
	before := s.mount.state.Load()
	if before != nil && time.Since(before.at) < mountInterval {
		return before.wrong
	}
	state, err := s.askMount(ctx)
	if err != nil {
		return err
	}
	s.mount.state.Store(state)
	if state.wrong != nil && (before == nil || before.wrong == nil) {
		s.log().Warn("the secrets engine in Vault is not the configured one", "error", state.wrong)
	}
	return state.wrong
}

// confirmMount is checkMount for the answer that nothing is there, which a mount of
// the other version gives to everything.
func (s *Store) confirmMount(ctx context.Context) error {
	if state := s.mount.state.Load(); state != nil && state.confirmed {
		return nil
	}
	return s.checkMount(ctx, true)
}

// askMount asks Vault for the mount. Any token that can read something below the
// mount may ask; a policy can still forbid it, and then nothing is known. The
// error means that there was no answer.
func (s *Store) askMount(ctx context.Context) (*mountState, error) {
	g, err := s.session.token(ctx)
	if err != nil {
		return nil, err
	}
	a, err := send(ctx, s.client, g.token, request{method: http.MethodGet, path: "sys/internal/ui/mounts/" + s.cfg.Mount})
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusTooManyRequests, a.status >= 500:
		return nil, sessionError(a.status, messages(a.body), g.token)
	case a.status != http.StatusOK:
		return &mountState{at: time.Now()}, nil
	}
	confirmed, wrong := judgeMount(a.body, s.cfg.Mount, s.cfg.KVVersion)
	return &mountState{confirmed: confirmed, wrong: wrong, at: time.Now()}, nil
}

// judgeMount compares what Vault says of a mount with the configuration.
func judgeMount(body []byte, mount string, kvVersion int) (confirmed bool, wrong error) {
	var said struct {
		Data struct {
			Path    string
			Type    string
			Options struct{ Version string }
		}
	}
	if json.Unmarshal(body, &said) != nil || said.Data.Type == "" {
		return false, nil //nolint:nilerr // an answer that tells nothing confirms nothing
	}
	// The answer is about the mount that the path lies in. It may have the
	// namespace before it.
	at, want := said.Data.Path, mount+"/"
	if at != "" && at != want && strings.HasPrefix(want, at) {
		at, below := oneLine(strings.TrimSuffix(at, "/")), strings.TrimSuffix(want[len(at):], "/")
		return false, &mountError{
			fmt.Sprintf("there is no mount %q: that path lies in the mount %q", mount, at),
			fmt.Sprintf("Set mount to %q, and have path begin with %q.", at, below+"/"),
		}
	}
	if said.Data.Type != "kv" && said.Data.Type != "generic" { // its name before Vault 0.8
		return false, &mountError{
			fmt.Sprintf("mount %q is not a KV secrets engine", mount),
			"Set mount to one that is; vault secrets list shows them. To make one: " + enableCommand("PATH", kvVersion),
		}
	}
	version := said.Data.Options.Version
	if version == "" {
		version = "1"
	}
	if version == strconv.Itoa(kvVersion) {
		return true, nil
	}
	remedy := "Set kv_version to 2."
	if kvVersion == 2 {
		remedy = fmt.Sprintf("Have Vault keep versions there: vault kv enable-versioning %s/. Or set kv_version to 1, with which nothing can be refreshed.", mount)
	}
	return false, &mountError{
		fmt.Sprintf("mount %q is KV version %s, but kv_version %d is configured", mount, oneLine(version), kvVersion), remedy,
	}
}

// mountError says that the mount is another one than is configured, and what to do
// about it.
type mountError struct{ detail, remedy string }

func (e *mountError) Error() string { return e.detail }

// enableCommand is the command that makes a mount.
func enableCommand(mount string, kvVersion int) string {
	return fmt.Sprintf("vault secrets enable -path=%s -version=%d kv", mount, kvVersion)
}
