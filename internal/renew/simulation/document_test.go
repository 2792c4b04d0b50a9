package simulation

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/tidwall/gjson"
)

// operator is who writes what no process of ours did.
const operator = "operator"

// document is one version of a credential, with who wrote it.
type document struct {
	by   string
	at   time.Duration
	gone bool // deleted, and written over

	access, refresh, note                   string
	status, print, nonce, over, disabledKey string

	saidAt   time.Duration // when it says that it was claimed, since the beginning; 0: it does not
	survived bool          // its token was seen to survive its use
}

// epoch is when time begins in a bubble.
var epoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// parse reads a document as it is stored.
func parse(data []byte) document {
	var saidAt time.Duration
	if at, err := time.Parse(time.RFC3339Nano, gjson.GetBytes(data, "_upstream_auth.at").String()); err == nil {
		saidAt = at.Sub(epoch)
	}
	text := func(path string) string { return gjson.GetBytes(data, path).String() }
	return document{
		access: text("access_token"), refresh: text("refresh_token"), note: text("note"),
		status: text("_upstream_auth.status"), print: text("_upstream_auth.fingerprint"),
		nonce: text("_upstream_auth.nonce"), over: text("_upstream_auth.over"),
		saidAt:      saidAt,
		disabledKey: text("_upstream_auth.disabled"), survived: text("_upstream_auth.survived") == "true",
	}
}

// speaks reports whether the document's own record is about token.
func (d *document) speaks(token string) bool { return d.print == fingerprint(token) }

func (d *document) claimed() bool { return d.nonce != "" || d.status == "spending" }

func (d *document) refused() bool { return !d.claimed() && d.status == "reauthorization_required" }

func (d *document) disabled() bool { return d.disabledKey == "true" }

// fingerprint is written here once more, from the design.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])[:32]
}

func short(id string) string { return id[:min(len(id), 6)] }
