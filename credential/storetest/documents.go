package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// roundTrips are documents that a store gives back with the same meaning, by what
// is special about them. Integers above 2^53 are not among them: Vault makes
// floating-point numbers of them, so whoever needs them stores strings.
var roundTrips = map[string]string{
	"empty object":      `{}`,
	"empty values":      `{"":"","empty":{},"none":[],"null":null,"false":false,"zero":0}`,
	"numbers":           `{"int":9007199254740991,"neg":-1,"frac":0.25,"exp":1e21}`,
	"big as string":     `{"id":"12345678901234567890","time":"1730000000000000001"}`,
	"nested":            `{"a":{"b":[{"c":[[],{}]},"d",1,true]},"a.b":"dotted"}`,
	"unicode":           `{"ключ":"значение","emoji":"🔑","combining":"e\u0301","private":"\ue000"}`,
	"escapes":           `{"q":"\"","b":"\\","s":"\/","c":"\u0000\u001f\b\f\n\r\t","d":"\u007f"}`,
	"HTML":              `{"html":"<a href='x'>&amp;</a>","line":"\u2028\u2029"}`,
	"surrogates":        `{"pair":"\ud83d\udd11"}`,
	"white space":       " {\n\t\"a\" : [ 1 , 2 ]\r\n} ",
	"names of a store":  `{"data":{"data":"x"},"metadata":{"version":9},"options":{"cas":0},"ttl":"1s"}`,
	"the reserved key":  `{"` + credential.ReservedField + `":{"status":"spending","nonce":"00ff"},"access_token":"x"}`,
	"looks like a time": `{"expires_at":"2026-01-02T03:04:05Z"}`,
	"64 KiB":            `{"blob":"` + strings.Repeat("0123456789abcdef", 64<<10/16) + `"}`,
}

func checkRoundTrip(t testing.TB, s subject) {
	key, version := s.key("acme"), uint64(0)
	for name, data := range roundTrips {
		version = s.mustPut(t, key, data, version)
		doc, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("%s: Get: %v", name, err)
		}
		if doc.Version != version {
			t.Errorf("%s: version is %d, want %d", name, doc.Version, version)
		}
		if !sameJSON(t, doc.Data, []byte(data)) {
			t.Errorf("%s: document is\n\t%.200s\nwant\n\t%.200s", name, doc.Data, data)
		}
		if _, err := credential.New(doc); err != nil {
			t.Errorf("%s: credential.New: %v", name, err)
		}
	}
}

func checkCopy(t testing.TB, s subject) {
	key, data := s.key("acme"), []byte(`{"n":"kept"}`)
	if _, err := s.Put(t.Context(), key, data, 0); err != nil {
		t.Fatalf("Put: %v", err)
	}
	copy(data, bytes.Repeat([]byte("x"), len(data)))
	early := s.mustGet(t, key, `{"n":"kept"}`, 1)
	s.mustPut(t, key, `{"n":"next"}`, 1)
	s.mustGet(t, key, `{"n":"next"}`, 2)
	if !sameJSON(t, early.Data, []byte(`{"n":"kept"}`)) {
		t.Error("a later call changed a document that was read before")
	}
}

func checkWrittenAt(t testing.TB, s subject) {
	// Far more than clocks differ, far less than a unit mistaken for another.
	const slack = 10 * time.Minute
	key := s.key("acme")
	for n := range uint64(3) {
		data := `{"n":"x"}`
		s.mustPut(t, key, data, n)
		at := s.mustGet(t, key, data, n+1).WrittenAt
		if at.IsZero() {
			continue // The store does not say.
		}
		if age := time.Since(at); age > slack || age < -slack {
			t.Errorf("WrittenAt is %v from now", -age)
		}
		if again := s.mustGet(t, key, data, n+1).WrittenAt; !again.Equal(at) {
			t.Errorf("WrittenAt of one version changed by %v", again.Sub(at))
		}
	}
}

func checkNotAnObject(t testing.TB, s subject) {
	fresh, kept := s.key("fresh"), s.key("acme")
	s.mustPut(t, kept, `{"n":"kept"}`, 0)
	bad := map[string]string{
		"nothing":      ``,
		"white space":  ` `,
		"null":         `null`,
		"array":        `[{"a":1}]`,
		"string":       `"{}"`,
		"number":       `1`,
		"cut off":      `{"a":1`,
		"two objects":  `{"a":1}{"b":2}`,
		"no JSON":      `{a:1}`,
		"above limits": `{"a":"` + strings.Repeat("x", credential.MaxSize) + `"}`,
	}
	for name, data := range bad {
		if _, err := s.Put(t.Context(), fresh, []byte(data), 0); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: Put: error %v, want ErrInvalid", name, err)
		}
		if _, err := s.Put(t.Context(), kept, []byte(data), 1); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: Put over a document: error %v, want ErrInvalid", name, err)
		}
	}
	s.mustNotFind(t, fresh, 0)
	s.mustGet(t, kept, `{"n":"kept"}`, 1)
}

// sameJSON reports whether a and b mean the same. Numbers are compared by their
// exact value, so that 1e21 may come back as 1e+21 but nothing may be rounded.
func sameJSON(t testing.TB, a, b []byte) bool {
	t.Helper()
	return bytes.Equal(a, b) || reflect.DeepEqual(parse(t, a), parse(t, b))
}

func parse(t testing.TB, data []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Errorf("document is not JSON: %v", err)
	}
	return exact(v)
}

// exact puts an exact and unique form in the place of each number in v.
func exact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = exact(v[name])
		}
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return json.Number(r.RatString())
		}
	}
	return v
}
