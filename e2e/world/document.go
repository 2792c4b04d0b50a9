package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// Document is the credential as it lies in Vault.
type Document struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type,omitempty"`
	ExpiresAt    string `json:"expires_at,omitempty"`
	Account      string `json:"account"` // a field of the user's own, to be kept
}

// Seed authorizes the sidecar for a tenant and puts the tokens into Vault.
func (w *World) Seed(tenant string) {
	w.Helper()
	tokens, err := w.Auth.Seed(tenant)
	w.Check(err)
	w.Store(tenant, DocumentOf(tenant, tokens))
}

// SeedExpired is Seed with an access token that is no longer accepted although
// its document says otherwise, so that the upstream's 401 is what tells.
func (w *World) SeedExpired(tenant string) {
	w.Helper()
	w.Seed(tenant)
	w.Check(w.Auth.Expire(tenant))
}

// DocumentOf is the document of a tenant that has these tokens.
func DocumentOf(tenant string, tokens authserver.Tokens) Document {
	return Document{
		AccessToken: tokens.Access, RefreshToken: tokens.Refresh, TokenType: "bearer",
		ExpiresAt: tokens.Expires.Format(time.RFC3339), Account: "account of " + tenant,
	}
}

// PathOf is where a tenant's document lies in Vault.
func PathOf(tenant string) string { return "secret/data/upstream-auth/api/" + tenant }

// Store writes a tenant's document.
func (w *World) Store(tenant string, d Document) {
	w.Helper()
	w.StoreRaw(tenant, d)
}

// StoreRaw is Store for a document of any kind.
func (w *World) StoreRaw(tenant string, d any) {
	w.Helper()
	_, err := w.Vault.Root.Logical().WriteWithContext(w.Ctx, PathOf(tenant), map[string]any{"data": d})
	w.Check(err)
}

// Stored reads a tenant's document.
func (w *World) Stored(tenant string) (Document, error) {
	secret, err := w.Vault.Root.Logical().ReadWithContext(w.Ctx, PathOf(tenant))
	if err != nil {
		return Document{}, err
	}
	if secret == nil {
		return Document{}, fmt.Errorf("%s: nothing in Vault", tenant)
	}
	raw, err := json.Marshal(secret.Data["data"])
	if err != nil {
		return Document{}, err
	}
	var d Document
	return d, json.Unmarshal(raw, &d)
}

// StoredRaw reads a tenant's document as it is, and its version.
func (w *World) StoredRaw(tenant string) (data map[string]any, version int, err error) {
	secret, err := w.Vault.Root.KVv2("secret").Get(w.Ctx, strings.TrimPrefix(PathOf(tenant), "secret/data/"))
	if err != nil {
		return nil, 0, err
	}
	return secret.Data, secret.VersionMetadata.Version, nil
}

// holdsDocument checks that Vault has a document for a tenant, beside the sidecar's
// own key.
func (w *World) holdsDocument(tenant string, want map[string]any) error {
	data, _, err := w.StoredRaw(tenant)
	if err != nil {
		return err
	}
	delete(data, "_upstream_auth")
	if !maps.Equal(data, want) {
		return fmt.Errorf("%s: Vault holds another document than it should", tenant)
	}
	return nil
}

// Record returns what a tenant's document says under the sidecar's own key.
func (w *World) Record(tenant string) (map[string]string, error) {
	data, _, err := w.StoredRaw(tenant)
	if err != nil {
		return nil, err
	}
	record := make(map[string]string)
	object, _ := data["_upstream_auth"].(map[string]any)
	for name, value := range object {
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("%s: %s is %v, no string", tenant, name, value)
		}
		record[name] = text
	}
	return record, nil
}

// HasStatus checks the status in a tenant's document.
func (w *World) HasStatus(tenant, status string) error {
	record, err := w.Record(tenant)
	if err == nil && record["status"] != status {
		err = fmt.Errorf("%s: status %q, not %q", tenant, record["status"], status)
	}
	return err
}

// NewestStored checks that Vault holds the tenant's newest tokens, and all else
// that the document had.
func (w *World) NewestStored(tenant string) error {
	d, err := w.Stored(tenant)
	if err != nil {
		return err
	}
	if owner, current := w.Auth.Subject(d.AccessToken); !current || owner != tenant {
		return fmt.Errorf("%s: the access token in Vault is not current", tenant)
	}
	if owner, ok := w.Auth.Spendable(d.RefreshToken); !ok || owner != tenant {
		return fmt.Errorf("%s: the refresh token in Vault cannot be spent", tenant)
	}
	if d.Account != "account of "+tenant {
		return fmt.Errorf("%s: a field of the document is lost", tenant)
	}
	if expires, err := time.Parse(time.RFC3339, d.ExpiresAt); err != nil || time.Until(expires) <= 0 {
		return errors.Join(fmt.Errorf("%s: expires_at is %q", tenant, d.ExpiresAt), err)
	}
	return nil
}

// Settled waits until Vault holds the newest tokens of the tenants, and checks
// that none of their refresh tokens was ever sent twice.
func (w *World) Settled(tenants ...string) {
	w.Helper()
	for _, tenant := range tenants {
		w.Eventually(func() error { return w.NewestStored(tenant) })
	}
	for _, e := range w.Auth.PresentedTwice() {
		if slices.Contains(tenants, e.Tenant) {
			w.Errorf("a refresh token of %s was sent twice; the second time it was %s", e.Tenant, e.Outcome)
		}
	}
}

// ExpireAll has the upstream accept the access tokens of these tenants no longer.
func (w *World) ExpireAll(tenants []string) {
	w.Helper()
	for _, tenant := range tenants {
		w.Check(w.Auth.Expire(tenant))
	}
}
