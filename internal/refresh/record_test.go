package refresh

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func parseText(t testing.TB, document string) *credential.Credential {
	t.Helper()
	return parse(t, credential.Document{Data: []byte(document), Version: 1})
}

func TestRecordIsReadAsStrings(t *testing.T) {
	full := record{
		Status: statusSpending, Fingerprint: "f", Nonce: "n", Owner: "o",
		At: "2026-01-02T04:04:05Z", Since: "2026-01-02T03:04:05.6Z", Over: "v", Disabled: "true", By: "b",
	}
	for name, test := range map[string]struct {
		document string
		want     record
	}{
		"all of it": {`{"a":1,"_upstream_auth":{"status":"spending","fingerprint":"f","nonce":"n","owner":"o","at":"2026-01-02T04:04:05Z","since":"2026-01-02T03:04:05.6Z","over":"v","disabled":"true","by":"b"}}`, full},
		"none":      {`{"a":1}`, record{}},
		"empty":     {`{"_upstream_auth":{}}`, record{}},
		"a string":  {`{"_upstream_auth":"{\"status\":\"spending\"}"}`, record{}},
		"a number":  {`{"_upstream_auth":17}`, record{}},
		"null":      {`{"_upstream_auth":null}`, record{}},
		"an array":  {`{"_upstream_auth":[{"status":"spending"}]}`, record{}},
		"no strings": {
			`{"_upstream_auth":{"status":1,"fingerprint":{"a":"b"},"nonce":["n"],"owner":null,"since":1e99,"over":false}}`, record{},
		},
		// What an operator types at a prompt may be no string.
		"disabled without quotes": {`{"_upstream_auth":{"disabled":true}}`, record{Disabled: "true"}},
		"not disabled":            {`{"_upstream_auth":{"disabled":false}}`, record{}},
		"an unknown member":       {`{"_upstream_auth":{"status":"ready","more":{"status":"spending"}}}`, record{Status: "ready"}},
		"the escaped key":         {`{"\u005fupstream_auth":{"nonce":"n"}}`, record{Nonce: "n"}},
		"escaped members":         {`{"_upstream_auth":{"\u006eonce":"\u006e"}}`, record{Nonce: "n"}},
		"deeper down":             {`{"a":{"_upstream_auth":{"nonce":"n"}}}`, record{}},
		"spread out":              {"{ \"_upstream_auth\" :\n {\t\"nonce\" : \"n\" } }", record{Nonce: "n"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recordOf(parseText(t, test.document)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestRecordWithMuchInItIsReadAndWritten(t *testing.T) {
	want := record{Status: statusReady, Fingerprint: "f", Nonce: strings.Repeat("n", 500<<10)}
	document, err := want.in(parseText(t, `{"access_token":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := recordOf(parseText(t, string(document))); got != want {
		t.Error("a long nonce was changed")
	}
}

func TestWritingARecordLeavesTheRestAsItIs(t *testing.T) {
	r := record{Status: statusReady, Fingerprint: "f"}
	const written = `{"status":"ready","fingerprint":"f"}`
	for name, test := range map[string]struct{ before, after string }{
		"none before":   {`{"a":1}`, `{"a":1,"_upstream_auth":` + written + `}`},
		"in the middle": {`{"a":1,"_upstream_auth":{"nonce":"n"},"b":2}`, `{"a":1,"b":2,"_upstream_auth":` + written + `}`},
		"no object":     {`{"_upstream_auth":17,"a":1}`, `{"a":1,"_upstream_auth":` + written + `}`},
		"twice": {
			`{"_upstream_auth":{"nonce":"n"},"a":1,"_upstream_auth":{"nonce":"m"}}`, `{"a":1,"_upstream_auth":` + written + `}`,
		},
		"escaped": {`{"\u005fupstream_auth":{"nonce":"n"},"a":1}`, `{"a":1,"_upstream_auth":` + written + `}`},
		"odd spelling of other things": {
			`{"n":12345678901234567890,"f":1.50,"e":"\u00e9\/","<&>":"<&>","dup":1,"dup":2}`,
			`{"n":12345678901234567890,"f":1.50,"e":"\u00e9\/","<&>":"<&>","dup":1,"dup":2,"_upstream_auth":` + written + `}`,
		},
		"the name deeper down": {
			`{"a":{"_upstream_auth":{"nonce":"n"}}}`, `{"a":{"_upstream_auth":{"nonce":"n"}},"_upstream_auth":` + written + `}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			document, err := r.in(parseText(t, test.before))
			if err != nil || string(document) != test.after {
				t.Errorf("got %s, %v\nwant %s", document, err, test.after)
			}
		})
	}
}

func TestWritingARecordChangesNotWhatItIsMadeOf(t *testing.T) {
	data := make([]byte, 0, 4096) // room to append in place
	data = append(data, `{"a":1,"_upstream_auth":{"nonce":"n"},"b":2}`...)
	cred := parse(t, credential.Document{Data: data, Version: 1})
	before := bytes.Clone(data)
	if _, err := (record{Status: statusSpending, Nonce: "another"}).in(cred); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, before) || string(cred.JSON()) != `{"a":1,"b":2}` {
		t.Errorf("the document is %s now, without its record %s", data, cred.JSON())
	}
}

func TestWhatARecordMeans(t *testing.T) {
	for name, test := range map[string]struct {
		r                          record
		claimed, refused, disabled bool
	}{
		"nothing":                          {record{}, false, false, false},
		"ready":                            {record{Status: statusReady}, false, false, false},
		"an unknown status":                {record{Status: "paused"}, false, false, false},
		"spending":                         {record{Status: statusSpending, Nonce: "n"}, true, false, false},
		"spending without a nonce":         {record{Status: statusSpending}, true, false, false},
		"a nonce without a status":         {record{Nonce: "n"}, true, false, false},
		"a nonce, and ready":               {record{Status: statusReady, Nonce: "n"}, true, false, false},
		"refused":                          {record{Status: statusReauthorize}, false, true, false},
		"a nonce, and refused":             {record{Status: statusReauthorize, Nonce: "n"}, true, false, false},
		"disabled by status":               {record{Status: statusDisabled}, false, false, true},
		"disabled by status in a claim":    {record{Status: statusDisabled, Nonce: "n"}, true, false, true},
		"disabled by field":                {record{Status: statusReady, Disabled: "true"}, false, false, true},
		"disabled by field in a claim":     {record{Status: statusSpending, Nonce: "n", Disabled: "true"}, true, false, true},
		"disabled by field, and refused":   {record{Status: statusReauthorize, Disabled: "true"}, false, true, true},
		"disabled says something else":     {record{Disabled: "false"}, false, false, false},
		"disabled says nothing":            {record{Disabled: ""}, false, false, false},
		"disabled by both field and state": {record{Status: statusDisabled, Disabled: "true"}, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			if test.r.claimed() != test.claimed || test.r.refused() != test.refused || test.r.disabled() != test.disabled {
				t.Errorf("claimed %v, refused %v, disabled %v", test.r.claimed(), test.r.refused(), test.r.disabled())
			}
		})
	}
}

func TestWhatOperatorsSaidIsKept(t *testing.T) {
	for name, test := range map[string]struct{ written, old, want record }{
		"nothing":                  {record{Status: statusReady}, record{}, record{Status: statusReady}},
		"the field":                {record{Status: statusReady}, record{Disabled: "true"}, record{Status: statusReady, Disabled: "true"}},
		"the field, in ours":       {record{Status: statusReady, Disabled: "true"}, record{}, record{Status: statusReady}},
		"another word":             {record{Status: statusReady}, record{Disabled: "soon"}, record{Status: statusReady, Disabled: "soon"}},
		"the status":               {record{Status: statusReady, Fingerprint: "f"}, record{Status: statusDisabled}, record{Status: statusDisabled, Fingerprint: "f"}},
		"the status of a refused":  {record{Status: statusReauthorize, Fingerprint: "f"}, record{Status: statusDisabled}, record{Status: statusDisabled, Fingerprint: "f", Nonce: "refused"}},
		"who obtained the tokens":  {record{Status: statusReady}, record{By: "them"}, record{Status: statusReady, By: "them"}},
		"who, if they do not say":  {record{Status: statusReady, By: "us"}, record{Status: statusSpending}, record{Status: statusReady, By: "us"}},
		"our status is not theirs": {record{Status: statusReady}, record{Status: statusSpending, Nonce: "n"}, record{Status: statusReady}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.written.keeping(test.old); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestAgesAreTimesOrNothing(t *testing.T) {
	const good = "2026-01-02T03:04:05Z"
	now := time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC)
	for _, text := range []string{"", "yesterday", "1767323045", "2026-01-02 03:04:05", "2026-13-02T03:04:05Z"} {
		for _, r := range []record{{At: text, Since: good}, {At: good, Since: text}, {At: text, Since: text}} {
			if _, _, ok := r.age(now); ok {
				t.Errorf("%+v has ages", r)
			}
		}
	}
	for _, text := range []string{good, "2026-01-02T03:04:05.000000000Z", "2026-01-02T04:04:05+01:00"} {
		r := record{At: text, Since: "2026-01-02T03:03:05Z"}
		if at, since, ok := r.age(now); !ok || at != time.Minute || since != 2*time.Minute {
			t.Errorf("%+v: %v, %v, %v", r, at, since, ok)
		}
		if _, _, ok := r.age(time.Time{}); ok {
			t.Error("ages by a store that does not tell the time")
		}
	}
}

func TestFingerprintIsHalfOfASHA256(t *testing.T) {
	// printf canary-r1 | sha256sum
	if got, want := fingerprint("canary-r1"), "a8c48c0703765e4a132b576dad56a32f"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}

func TestNoncesDiffer(t *testing.T) {
	if a, b := newNonce(), newNonce(); a == b || len(a) != 32 {
		t.Errorf("%s and %s", a, b)
	}
}

// FuzzRecord holds that any document can be read and written, and that what is
// written is what is read, beside what was there.
func FuzzRecord(f *testing.F) {
	for _, document := range []string{
		`{}`, `{ }`, ` {"a" : 1} `, `{"a":1}`, `{"_upstream_auth":{"status":"spending","nonce":"n"}}`,
		`{"_upstream_auth":[],"_upstream_auth":{}}`, `{"\u005fupstream_auth":1,"b":[{}]}`, `{"a":1,}`, `[]`, `{"":{"_upstream_auth":0}}`,
	} {
		f.Add([]byte(document), "ready", "n", "true")
	}
	f.Fuzz(func(t *testing.T, data []byte, status, nonce, disabled string) {
		cred, err := credential.New(credential.Document{Data: data})
		if err != nil {
			return
		}
		_ = recordOf(cred)
		// What is not UTF-8 cannot be in a JSON string.
		r := record{
			Status: strings.ToValidUTF8(status, ""), Nonce: strings.ToValidUTF8(nonce, ""), Disabled: strings.ToValidUTF8(disabled, ""),
		}
		document, err := r.in(cred)
		if err != nil {
			t.Fatalf("no place for a record in %q: %v", data, err)
		}
		written, err := credential.New(credential.Document{Data: document})
		if err != nil {
			if len(document) > credential.MaxSize {
				return
			}
			t.Fatalf("%q is no credential: %v", document, err)
		}
		if got := recordOf(written); got != r {
			t.Fatalf("%+v was written, %+v is read of %q", r, got, document)
		}
		// White space next to the record may go with it.
		if before, after := compact(t, cred.JSON()), compact(t, written.JSON()); before != after {
			t.Fatalf("without the record %q became %q", before, after)
		}
	})
}

// compact takes out white space, and changes nothing else.
func compact(t testing.TB, document []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, document); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
