package vaultstore

import (
	"encoding/json"
	"testing"
)

func TestParseRead(t *testing.T) {
	const meta = `"metadata":{"version":2,"created_time":"2026-01-02T03:04:05Z","deletion_time":"","destroyed":false}`
	cases := []struct {
		version, status int
		body            string
		want            found
		data            string
		number          uint64
	}{
		{2, 200, `{"data":{"data":{"a":1},` + meta + `}}`, present, `{"a":1}`, 2},
		{2, 404, `{"data":{"data":null,` + meta + `}}`, deleted, "", 2},
		{2, 200, `{"data":{"data":null,` + meta + `}}`, deleted, "", 2},
		{2, 404, `{"data":{"data":{"a":1},` + meta + `}}`, unclear, "", 0},
		{2, 404, `{"errors":[]}`, absent, "", 0},
		{2, 404, `{"errors":["no handler for route"]}`, unclear, "", 0},
		{2, 404, `{"errors":[],"warnings":["Invalid path"]}`, unclear, "", 0},
		{2, 404, `{}`, unclear, "", 0},
		{2, 404, ``, unclear, "", 0},
		{2, 200, `{"errors":[]}`, unclear, "", 0},
		{2, 200, `{"data":{"a":1}}`, unclear, "", 0},
		{2, 200, `{"data":{"data":{},"metadata":{"version":-1}}}`, unclear, "", 0},
		{2, 200, `{"data":[]}`, unclear, "", 0},
		{2, 403, `{"data":{"data":{"a":1},` + meta + `}}`, unclear, "", 0},
		{1, 200, `{"data":{"a":1}}`, present, `{"a":1}`, 0},
		{1, 404, `{"errors":[]}`, absent, "", 0},
		{1, 404, `{"data":{"a":1}}`, unclear, "", 0},
		{1, 200, `{"data":null}`, unclear, "", 0},
	}
	for _, c := range cases {
		doc, got := parseRead(c.version, answer{status: c.status, body: []byte(c.body)})
		if got != c.want || string(doc.Data) != c.data || doc.Version != c.number {
			t.Errorf("version %d, %d %s: %v, %s, %d", c.version, c.status, c.body, got, doc.Data, doc.Version)
		}
	}
}

func FuzzReadResponse(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"data":{"a":1},"metadata":{"version":2,"created_time":"2026-01-02T03:04:05Z"}}}`,
		`{"data":{"data":null,"metadata":{"version":2,"deletion_time":"2026-01-02T03:04:05Z","destroyed":true}}}`,
		`{"data":{"a":{"b":[]}}}`, `{"errors":[]}`, `{"errors":["permission denied"]}`, `{"errors":[],"warnings":["Invalid path"]}`,
		`{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`, `{"data":{"keys":["acme","b/"]}}`, `[]`, `null`, ``, `{"data":{"version":4}}`,
	} {
		f.Add(2, 200, []byte(seed))
		f.Add(2, 404, []byte(seed))
		f.Add(1, 200, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, version, status int, body []byte) {
		a := answer{status: status, body: body}
		if names, got := parseNames(a); (got == present) != (names != nil) || got == absent && status != 404 {
			t.Fatalf("%q found as %d for status %d", names, got, status)
		}
		doc, got := parseRead(version, a)
		switch got {
		case present:
			if status != 200 || !json.Valid(doc.Data) || isNull(doc.Data) || version != 1 && doc.Version == 0 {
				t.Errorf("present: %d, %q, version %d", status, doc.Data, doc.Version)
			}
		case deleted:
			if doc.Data != nil || doc.Version == 0 {
				t.Errorf("deleted: %q, version %d", doc.Data, doc.Version)
			}
		case absent:
			if status != 404 || doc.Data != nil || doc.Version != 0 {
				t.Errorf("absent: %d, %q, version %d", status, doc.Data, doc.Version)
			}
		case unclear:
			if doc.Data != nil || doc.Version != 0 {
				t.Errorf("unclear: %q, version %d", doc.Data, doc.Version)
			}
		}
		if parseWritten(a) > 0 && status != 200 {
			t.Errorf("written with status %d", status)
		}
		if confirmed, wrong := judgeMount(body, "secret", 2); confirmed && wrong != nil {
			t.Error("a mount both right and wrong")
		}
		for _, e := range []*StatusError{documentError(a), sessionError(status, messages(body))} {
			if len(e.Messages) > maxMessages || len(e.Error()) > 100+maxMessages*(maxMessageLength+10) {
				t.Errorf("an error of %d bytes", len(e.Error()))
			}
		}
	})
}
