package e2e

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

// document is the credential as it lies in Vault.
type document struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type,omitempty"`
	ExpiresAt    string `json:"expires_at,omitempty"`
	Account      string `json:"account"` // a field of the user's own, to be kept
}

// seed authorizes the sidecar for a tenant and puts the tokens into Vault.
func (w *world) seed(tenant string) {
	w.Helper()
	tokens, err := w.auth.Seed(tenant)
	w.check(err)
	w.store(tenant, documentOf(tenant, tokens))
}

// seedExpired is seed with an access token that is no longer accepted although
// its document says otherwise, so that the upstream's 401 is what tells.
func (w *world) seedExpired(tenant string) {
	w.Helper()
	w.seed(tenant)
	w.check(w.auth.Expire(tenant))
}

func documentOf(tenant string, tokens authserver.Tokens) document {
	return document{
		AccessToken: tokens.Access, RefreshToken: tokens.Refresh, TokenType: "bearer",
		ExpiresAt: tokens.Expires.Format(time.RFC3339), Account: "account of " + tenant,
	}
}

func pathOf(tenant string) string { return "secret/data/upstream-auth/api/" + tenant }

// store writes a tenant's document.
func (w *world) store(tenant string, d document) {
	w.Helper()
	w.storeRaw(tenant, d)
}

func (w *world) storeRaw(tenant string, d any) {
	w.Helper()
	_, err := w.vault.root.Logical().WriteWithContext(w.ctx, pathOf(tenant), map[string]any{"data": d})
	w.check(err)
}

// stored reads a tenant's document.
func (w *world) stored(tenant string) (document, error) {
	secret, err := w.vault.root.Logical().ReadWithContext(w.ctx, pathOf(tenant))
	if err != nil {
		return document{}, err
	}
	if secret == nil {
		return document{}, fmt.Errorf("%s: nothing in Vault", tenant)
	}
	raw, err := json.Marshal(secret.Data["data"])
	if err != nil {
		return document{}, err
	}
	var d document
	return d, json.Unmarshal(raw, &d)
}

// storedRaw reads a tenant's document as it is, and its version.
func (w *world) storedRaw(tenant string) (data map[string]any, version int, err error) {
	secret, err := w.vault.root.KVv2("secret").Get(w.ctx, strings.TrimPrefix(pathOf(tenant), "secret/data/"))
	if err != nil {
		return nil, 0, err
	}
	return secret.Data, secret.VersionMetadata.Version, nil
}

// holdsDocument checks that Vault has a document for a tenant, beside the sidecar's
// own key.
func (w *world) holdsDocument(tenant string, want map[string]any) error {
	data, _, err := w.storedRaw(tenant)
	if err != nil {
		return err
	}
	delete(data, "_upstream_auth")
	if !maps.Equal(data, want) {
		return fmt.Errorf("%s: Vault holds another document than it should", tenant)
	}
	return nil
}

// record returns what a tenant's document says under the sidecar's own key.
func (w *world) record(tenant string) (map[string]string, error) {
	data, _, err := w.storedRaw(tenant)
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

// hasStatus checks the status in a tenant's document.
func (w *world) hasStatus(tenant, status string) error {
	record, err := w.record(tenant)
	if err == nil && record["status"] != status {
		err = fmt.Errorf("%s: status %q, not %q", tenant, record["status"], status)
	}
	return err
}

// newestStored checks that Vault holds the tenant's newest tokens, and all else
// that the document had.
func (w *world) newestStored(tenant string) error {
	d, err := w.stored(tenant)
	if err != nil {
		return err
	}
	if owner, current := w.auth.Subject(d.AccessToken); !current || owner != tenant {
		return fmt.Errorf("%s: the access token in Vault is not current", tenant)
	}
	if owner, ok := w.auth.Spendable(d.RefreshToken); !ok || owner != tenant {
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

// settled waits until Vault holds the newest tokens of the tenants, and checks
// that none of their refresh tokens was ever sent twice.
func (w *world) settled(tenants ...string) {
	w.Helper()
	for _, tenant := range tenants {
		w.eventually(func() error { return w.newestStored(tenant) })
	}
	for _, e := range w.auth.PresentedTwice() {
		if slices.Contains(tenants, e.Tenant) {
			w.Errorf("a refresh token of %s was sent twice; the second time it was %s", e.Tenant, e.Outcome)
		}
	}
}
