package vaultstore

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// writeTimeout bounds a write whose context has no deadline.
const writeTimeout = 5 * time.Second

// Get implements [credential.Store]. Besides ctx, the configured timeout bounds
// it. An [ErrUnavailable] wraps a [StatusError] if Vault answered, and a
// [credential.PermissionError] if it answered 403 to a token that it gave out just now.
//
// [ErrUnavailable]: credential.ErrUnavailable
func (s *Store) Get(ctx context.Context, key credential.Key) (credential.Document, error) {
	return s.get(ctx, key, 0)
}

// GetVersion implements [credential.Store]. What is kept is what Vault keeps, by
// default ten versions (https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#configure-the-kv-engine).
// KV version 1 keeps none.
func (s *Store) GetVersion(ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
	if err := key.Check(); err != nil {
		return credential.Document{}, err
	}
	if version == 0 || s.cfg.KVVersion == 1 {
		return credential.Document{}, credential.ErrNotFound
	}
	doc, err := s.get(ctx, key, version)
	if err == nil && doc.Version != version {
		return credential.Document{}, credential.ErrNotFound
	}
	return doc, err
}

// get reads one version of a document; 0 is the newest.
func (s *Store) get(ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
	const doing = "reading from Vault"
	path, err := s.cfg.secretPath(key)
	if err != nil {
		return credential.Document{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	defer s.leave()
	if err := s.enter(ctx); err != nil {
		return credential.Document{}, unavailable(doing, err)
	}
	r := request{method: http.MethodGet, path: path}
	if version != 0 {
		r.params = url.Values{"version": {strconv.FormatUint(version, 10)}}
	}
	a, err := s.read(ctx, r)
	if err != nil {
		return credential.Document{}, unavailable(doing, err)
	}
	switch doc, found := parseRead(s.cfg.KVVersion, a); found {
	case present:
		return doc, nil
	case deleted:
		return doc, credential.ErrNotFound
	case absent:
		if err := s.confirmMount(ctx); err != nil {
			return credential.Document{}, unavailable(doing, err)
		}
		return credential.Document{}, credential.ErrNotFound
	default:
		return credential.Document{}, s.failure(ctx, doing, s.cfg.documentPermission(key, "read"), a)
	}
}

// read makes a request that reads. It asks that the active node answer, because a
// performance standby of Vault Enterprise may lag behind what another replica
// wrote. X-Vault-Inconsistent would not do that: without an X-Vault-Index of the
// other's write, a standby never finds itself inconsistent
// (https://developer.hashicorp.com/vault/docs/enterprise/consistency). Unless
// Vault's configuration allows it (allow_forwarding_via_header), and always in
// its community edition, such a request is refused with 400.
func (s *Store) read(ctx context.Context, r request) (answer, error) {
	r.forward = !s.noForward.Load()
	a, err := s.call(ctx, r)
	if err != nil || !r.forward || a.status != http.StatusBadRequest {
		return a, err
	}
	r.forward = false
	a, err = s.call(ctx, r)
	if err == nil && a.status != http.StatusBadRequest {
		s.noForward.Store(true)
	}
	return a, err
}

// Put implements [credential.Store]. Without a deadline in ctx it takes 5 seconds
// at most. It never repeats a write that Vault may have made. Data that is no
// credential's document is an [ErrInvalid] and not sent.
//
// [ErrInvalid]: credential.ErrInvalid
func (s *Store) Put(ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
	const doing = "writing to Vault"
	path, err := s.cfg.secretPath(key)
	if err != nil {
		return 0, err
	}
	if s.cfg.KVVersion == 1 {
		return 0, credential.ErrReadOnly
	}
	if _, err := credential.New(credential.Document{Data: data}); err != nil {
		return 0, err
	}
	ctx, cancel := withTimeout(ctx, writeTimeout)
	defer cancel()
	defer s.leave()
	if err := s.enter(ctx); err != nil {
		return 0, unavailable(doing, err)
	}
	// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#create-update-secret
	a, err := s.call(ctx, request{method: http.MethodPost, path: path, body: map[string]any{
		"options": map[string]uint64{"cas": version},
		"data":    json.RawMessage(data),
	}})
	if err != nil {
		return 0, unavailable(doing, err)
	}
	if a.status == http.StatusBadRequest && slices.ContainsFunc(messages(a.body), isConflict) {
		return 0, credential.ErrConflict
	}
	if written := parseWritten(a); written > 0 {
		return written, nil
	}
	// Which of the two Vault asks its policy for depends on what is there.
	return 0, s.failure(ctx, doing, s.cfg.documentPermission(key, "create", "update"), a)
}

func isConflict(message string) bool { return strings.Contains(message, conflictPhrase) }

// Delete implements [credential.Store] by a soft delete of the newest version,
// which Vault can undo. Without a deadline in ctx it takes 5 seconds at most.
func (s *Store) Delete(ctx context.Context, key credential.Key) error {
	const doing = "deleting from Vault"
	path, err := s.cfg.secretPath(key)
	if err != nil {
		return err
	}
	if s.cfg.KVVersion == 1 {
		return credential.ErrReadOnly
	}
	ctx, cancel := withTimeout(ctx, writeTimeout)
	defer cancel()
	defer s.leave()
	if err := s.enter(ctx); err != nil {
		return unavailable(doing, err)
	}
	a, err := s.call(ctx, request{method: http.MethodDelete, path: path})
	switch {
	case err != nil:
		return unavailable(doing, err)
	case a.status == http.StatusOK, a.status == http.StatusNoContent:
		return nil
	default:
		return s.failure(ctx, doing, s.cfg.documentPermission(key, "delete"), a)
	}
}

// withTimeout bounds what has no deadline.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
