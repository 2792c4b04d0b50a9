package renew

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Values of a record's status.
const (
	statusReady       = "ready"
	statusSpending    = "spending"
	statusReauthorize = "reauthorization_required"
)

// yes is what a switch in a record says that is on.
const yes = "true"

// record is what a document says under [credential.ReservedField]: what is known
// of one refresh token. The zero value says nothing, which means ready. All its
// fields are strings, since Vault mangles large numbers.
type record struct {
	Status      string `json:"status,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"` // of the refresh token it speaks of
	Nonce       string `json:"nonce,omitempty"`       // of the claim, if there is one
	Owner       string `json:"owner,omitempty"`       // id of the claim's journal
	At          string `json:"at,omitempty"`          // RFC 3339, the store's clock: when the claim was made
	Since       string `json:"since,omitempty"`       // the same: when the token was first claimed
	Listens     string `json:"listens,omitempty"`     // how long after At the claim's owner listens for the answer
	Over        string `json:"over,omitempty"`        // nonce of the claim that this one was made over within the grace
	Survived    string `json:"survived,omitempty"`    // "true": the token was used, and stayed what it was
	Renewed     string `json:"renewed,omitempty"`     // RFC 3339, the store's clock: when the token was last used, or came; with KeepAlive alone
	Disabled    string `json:"disabled,omitempty"`    // "true"; operators' own
	By          string `json:"by,omitempty"`          // who obtained the tokens; nothing depends on it
}

// recordOf reads the record of a document. What is no record says nothing.
func recordOf(cred *credential.Credential) record {
	object := gjson.GetBytes(cred.Stored(), credential.ReservedField)
	text := func(name string) string {
		if value := object.Get(name); value.Type == gjson.String || value.Type == gjson.True {
			return value.String()
		}
		return ""
	}
	if !object.IsObject() {
		return record{}
	}
	return record{
		Status: text("status"), Fingerprint: text("fingerprint"), Nonce: text("nonce"), Owner: text("owner"),
		At: text("at"), Since: text("since"), Listens: text("listens"), Over: text("over"),
		Survived: text("survived"), Renewed: text("renewed"), Disabled: text("disabled"), By: text("by"),
	}
}

func (r record) claimed() bool { return r.Nonce != "" || r.Status == statusSpending }

// refused reports whether the token was refused for good.
func (r record) refused() bool { return !r.claimed() && r.Status == statusReauthorize }

// disabled reports whether operators want no refresh.
func (r record) disabled() bool { return r.Disabled == yes }

// age is how old the claim is, and total how old the first claim of the token, at
// a time by the store's clock.
func (r record) age(now time.Time) (age, total time.Duration, ok bool) {
	at, err := time.Parse(time.RFC3339Nano, r.At)
	since, sinceErr := time.Parse(time.RFC3339Nano, r.Since)
	return now.Sub(at), now.Sub(since), err == nil && sinceErr == nil && !now.IsZero()
}

// keeping returns r with what operators said in old, and with who obtained the tokens, if
// old says so, and when.
func (r record) keeping(old record) record {
	r.Disabled = old.Disabled
	r.By = cmp.Or(old.By, r.By)
	if r.Fingerprint == old.Fingerprint {
		r.Renewed = cmp.Or(r.Renewed, old.Renewed)
	}
	return r
}

// in returns a document with r as its record, and everything else as in cred.
func (r record) in(cred *credential.Credential) ([]byte, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	document, err := sjson.SetRawBytes(cred.JSON(), credential.ReservedField, raw)
	if err != nil || !json.Valid(document) {
		return nil, fmt.Errorf("%w: no place for %s", credential.ErrInvalid, credential.ReservedField)
	}
	return document, nil
}

// stamp is a time as it stands in a record; empty for the zero time.
func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// fingerprint names a refresh token without telling it: 128 bits of its SHA-256.
func fingerprint(refreshToken string) string {
	sum := sha256.Sum256([]byte(refreshToken))
	return hex.EncodeToString(sum[:16])
}

// newNonce returns 128 random bits.
func newNonce() string {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	return hex.EncodeToString(nonce)
}
