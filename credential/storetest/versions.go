package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func checkVersions(t testing.TB, s subject) {
	key := s.key("acme")
	for n := range uint64(4) {
		data := fmt.Sprintf(`{"n":"%d"}`, n)
		s.mustPut(t, key, data, n)
		s.mustGet(t, key, data, n+1)
	}
}

func checkCreateOnly(t testing.TB, s subject) {
	key := s.key("acme")
	s.mustPut(t, key, `{"n":"first"}`, 0)
	s.mustConflict(t, key, 0)
	s.mustGet(t, key, `{"n":"first"}`, 1)

	s.mustPut(t, key, `{"n":"second"}`, 1)
	s.mustConflict(t, key, 0)
	s.mustGet(t, key, `{"n":"second"}`, 2)
}

func checkConflict(t testing.TB, s subject) {
	fresh := s.key("fresh")
	for _, version := range []uint64{1, 2, 1 << 31} {
		s.mustConflict(t, fresh, version)
	}
	s.mustNotFind(t, fresh, 0)
	s.mustPut(t, fresh, `{}`, 0)

	key := s.key("acme")
	for n := range uint64(3) {
		s.mustPut(t, key, fmt.Sprintf(`{"n":"%d"}`, n), n)
	}
	for _, version := range []uint64{0, 1, 2, 4, 5, 1 << 31} {
		s.mustConflict(t, key, version)
	}
	s.mustGet(t, key, `{"n":"2"}`, 3)
	s.mustPut(t, key, `{"n":"3"}`, 3)
}

func checkNeverWritten(t testing.TB, s subject) {
	s.mustNotFind(t, s.key("nobody"), 0)
	s.mustPut(t, s.key("somebody"), `{}`, 0)
	s.mustNotFind(t, s.key("nobody"), 0)
}

// Vault's soft delete marks the newest version as deleted and leaves the counter
// where it is (vault-plugin-secrets-kv, path_data.go): the mark has the version of
// the document that it stands for.
func checkDeleted(t testing.TB, s subject) {
	key := s.key("acme")
	s.mustPut(t, key, `{"n":"1"}`, 0)
	s.mustPut(t, key, `{"n":"2"}`, 1)
	s.mustDelete(t, key)
	s.mustNotFind(t, key, 2)
}

func checkRecreate(t testing.TB, s subject) {
	key := s.key("acme")
	s.mustPut(t, key, `{"n":"1"}`, 0)
	s.mustPut(t, key, `{"n":"2"}`, 1)
	s.mustDelete(t, key)
	for _, version := range []uint64{0, 1, 3} {
		s.mustConflict(t, key, version)
	}
	s.mustNotFind(t, key, 2)

	s.mustPut(t, key, `{"n":"3"}`, 2)
	s.mustGet(t, key, `{"n":"3"}`, 3)
	s.mustConflict(t, key, 2)

	s.mustDelete(t, key)
	s.mustNotFind(t, key, 3)
}

func checkDeleteRepeated(t testing.TB, s subject) {
	key := s.key("acme")
	s.mustDelete(t, key)
	s.mustNotFind(t, key, 0)

	s.mustPut(t, key, `{}`, 0)
	for range 3 {
		s.mustDelete(t, key)
		s.mustNotFind(t, key, 1)
	}
	s.mustPut(t, key, `{"again":true}`, 1)
}

func checkDeleteIsolated(t testing.TB, s subject) {
	gone, stays, other := s.key("acme"), s.key("acme.eu"), s.key("acme")
	other.Provider += "x"
	for _, key := range []credential.Key{gone, stays, other} {
		s.mustPut(t, key, `{"n":"1"}`, 0)
	}
	s.mustDelete(t, gone)
	s.mustNotFind(t, gone, 1)
	s.mustGet(t, stays, `{"n":"1"}`, 1)
	s.mustGet(t, other, `{"n":"1"}`, 1)
}

// mustConflict ends the test unless a Put against version is an ErrConflict.
func (s subject) mustConflict(t testing.TB, key credential.Key, version uint64) {
	t.Helper()
	written, err := s.Put(t.Context(), key, []byte(`{"n":"lost"}`), version)
	if !errors.Is(err, credential.ErrConflict) {
		t.Fatalf("Put against version %d: version %d, error %v; want ErrConflict", version, written, err)
	}
}

// mustNotFind ends the test unless key is not found and its mark, if any, has
// this version.
func (s subject) mustNotFind(t testing.TB, key credential.Key, version uint64) {
	t.Helper()
	doc, err := s.Get(t.Context(), key)
	if !errors.Is(err, credential.ErrNotFound) {
		t.Fatalf("Get: error %v, want ErrNotFound", err)
	}
	if doc.Version != version {
		t.Fatalf("Get: ErrNotFound with version %d, want %d", doc.Version, version)
	}
	if len(doc.Data) != 0 {
		t.Fatal("Get: ErrNotFound with a document")
	}
}

func checkVersionBefore(t testing.TB, s subject) {
	key := s.key("acme")
	if _, err := s.GetVersion(t.Context(), key, 1); !errors.Is(err, credential.ErrNotFound) {
		t.Fatalf("GetVersion of what was never written: %v, want ErrNotFound", err)
	}
	for n := range uint64(3) {
		s.mustPut(t, key, fmt.Sprintf(`{"n":"%d"}`, n+1), n)
	}
	for _, version := range []uint64{2, 3} {
		doc, err := s.GetVersion(t.Context(), key, version)
		if err != nil {
			t.Fatalf("GetVersion %d of 3: %v", version, err)
		}
		if want := fmt.Sprintf(`{"n":"%d"}`, version); doc.Version != version || !sameJSON(t, doc.Data, []byte(want)) {
			t.Fatalf("GetVersion %d of 3: version %d with %s, want %s", version, doc.Version, doc.Data, want)
		}
	}
	for _, version := range []uint64{0, 4, 1 << 31} {
		if _, err := s.GetVersion(t.Context(), key, version); !errors.Is(err, credential.ErrNotFound) {
			t.Fatalf("GetVersion %d of 3: %v, want ErrNotFound", version, err)
		}
	}
	s.mustDelete(t, key)
	if doc, err := s.GetVersion(t.Context(), key, 2); err != nil || !sameJSON(t, doc.Data, []byte(`{"n":"2"}`)) {
		t.Fatalf("GetVersion of the version before a deleted one: %s, %v", doc.Data, err)
	}
	if _, err := s.GetVersion(t.Context(), key, 3); !errors.Is(err, credential.ErrNotFound) {
		t.Fatalf("GetVersion of a deleted version: %v, want ErrNotFound", err)
	}
}

func checkVersionBeforeMark(t testing.TB, s subject) {
	key := s.key("acme")
	s.mustPut(t, key, `{"n":"1"}`, 0)
	s.mustDelete(t, key)
	s.mustPut(t, key, `{"n":"2"}`, 1)
	doc, err := s.GetVersion(t.Context(), key, 1)
	if !errors.Is(err, credential.ErrNotFound) {
		t.Fatalf("GetVersion of a deleted version: %v, want ErrNotFound", err)
	}
	if doc.Version != 1 || len(doc.Data) != 0 {
		t.Fatalf("GetVersion of a deleted version: ErrNotFound with version %d and %q, want version 1 and no data", doc.Version, doc.Data)
	}
}

func checkJournalKey(t testing.TB, s subject) {
	key := credential.JournalKey()
	doc, err := s.Get(t.Context(), key)
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		t.Fatalf("Get: %v", err)
	}
	version := s.mustPut(t, key, `{"key":"`+s.provider+`"}`, doc.Version)
	s.mustGet(t, key, `{"key":"`+s.provider+`"}`, version)
	s.mustConflict(t, key, version-1)
}

// What is kept of links lies apart from credentials, for each of them, and is in no list.
func checkLinks(t testing.TB, s subject) {
	acme, globex := s.key("acme"), s.key("globex")
	s.mustPut(t, acme, `{"n":"credential"}`, 0)
	for _, key := range []credential.Key{acme.Links(), globex.Links()} {
		s.mustNotFind(t, key, 0)
		s.mustPut(t, key, `{"n":"`+string(key.Tenant)+`"}`, 0)
		s.mustGet(t, key, `{"n":"`+string(key.Tenant)+`"}`, 1)
		s.mustConflict(t, key, 0)
	}
	s.mustGet(t, acme, `{"n":"credential"}`, 1)
	s.mustList(t, "", 9, "acme")

	doc, err := s.Get(t.Context(), credential.LinksKey())
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		t.Fatalf("Get: %v", err)
	}
	version := s.mustPut(t, credential.LinksKey(), `{"key":"`+s.provider+`"}`, doc.Version)
	s.mustGet(t, credential.LinksKey(), `{"key":"`+s.provider+`"}`, version)
	s.mustGet(t, acme.Links(), `{"n":"acme"}`, 1)
}
