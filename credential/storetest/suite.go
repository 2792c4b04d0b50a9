package storetest

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// TestStore fails t unless the stores that open returns do what
// [credential.Store] promises, as Vault's KV version 2 does it. It calls open
// once a sub-test; open may return the same store each time, and the store may
// hold other documents: each sub-test writes below a provider name of its own
// (the letter "t" and 26 more letters and digits). It leaves its documents behind.
func TestStore(t *testing.T, open func(t *testing.T) credential.Store) {
	for _, c := range checks {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			c.run(t, subject{Store: open(t), provider: "t" + strings.ToLower(rand.Text())})
		})
	}
}

// A check is one promise of the interface. It takes a testing.TB, so that it can
// itself be tested: against a store that breaks the promise.
type check struct {
	name string
	run  func(t testing.TB, s subject)
}

var checks = []check{
	{"versions start at 1 and grow by 1", checkVersions},
	{"version 0 creates and never overwrites", checkCreateOnly},
	{"a lost check-and-set is a conflict and writes nothing", checkConflict},
	{"get of what was never written is not found", checkNeverWritten},
	{"a deleted document is not found and keeps its version", checkDeleted},
	{"a deleted document is written again against its mark alone", checkRecreate},
	{"the version before is kept", checkVersionBefore},
	{"the version before a rewritten mark is not", checkVersionBeforeMark},
	{"the journals' key has a place of its own", checkJournalKey},
	{"links have places of their own", checkLinks},
	{"delete can be repeated", checkDeleteRepeated},
	{"delete touches no other document", checkDeleteIsolated},
	{"documents come back as they were", checkRoundTrip},
	{"a document is the store's own copy", checkCopy},
	{"the time of writing is plausible", checkWrittenAt},
	{"data that is no JSON object is refused", checkNotAnObject},
	{"invalid tenants are refused", checkInvalidTenants},
	{"invalid providers are refused", checkInvalidProviders},
	{"names that differ in anything are different documents", checkDistinctNames},
	{"a list names the tenants of its provider in order", checkList},
	{"a list goes on after any name", checkListPages},
	{"a list keeps to its limit", checkListLimit},
	{"a list names what was written again", checkListDeleted},
	{"a list of an invalid provider is refused", checkListInvalidProviders},
	{"concurrent writers have one winner a version", checkOneWinner},
	{"concurrent increments lose none", checkIncrements},
	{"concurrent readers see whole documents", checkWholeDocuments},
	{"an ended context ends every call", checkEndedContext},
}

// A subject is a store under test and a provider that nobody else uses.
type subject struct {
	credential.Store
	provider string
}

func (s subject) key(tenant string) credential.Key {
	return credential.Key{Provider: s.provider, Tenant: credential.Tenant(tenant)}
}

// mustPut writes data or ends the test, and returns the new version.
func (s subject) mustPut(t testing.TB, key credential.Key, data string, version uint64) uint64 {
	t.Helper()
	written, err := s.Put(t.Context(), key, []byte(data), version)
	if err != nil {
		t.Fatalf("Put against version %d: %v", version, err)
	}
	if written != version+1 {
		t.Fatalf("Put against version %d: new version is %d, want %d", version, written, version+1)
	}
	return written
}

// mustGet reads key and ends the test unless it holds data in this version.
func (s subject) mustGet(t testing.TB, key credential.Key, data string, version uint64) credential.Document {
	t.Helper()
	doc, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if doc.Version != version {
		t.Fatalf("Get: version is %d, want %d", doc.Version, version)
	}
	if !sameJSON(t, doc.Data, []byte(data)) {
		t.Fatalf("Get: document is\n\t%.200s\nwant\n\t%.200s", doc.Data, data)
	}
	return doc
}

// mustDelete deletes key or ends the test.
func (s subject) mustDelete(t testing.TB, key credential.Key) {
	t.Helper()
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatalf("Delete: %v", err)
	}
}
