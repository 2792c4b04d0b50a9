package credential_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestInputThatIsRefused(t *testing.T) {
	for name, document := range map[string]string{
		"empty":                "",
		"array":                `["hunter2"]`,
		"cut":                  `{"a":"hunter2`,
		"deep":                 `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		"large":                `{"a":"` + strings.Repeat("x", credential.MaxSize) + `"}`,
		"reserved":             `{"a":"hunter2","_upstream_auth":{}}`,
		"reserved, null":       `{"_upstream_auth":null}`,
		"reserved, escaped":    `{"\u005fupstream_auth":{},"a":1}`,
		"reserved, all of it":  `{"\u005f\u0075\u0070\u0073\u0074\u0072\u0065\u0061\u006d\u005f\u0061\u0075\u0074\u0068":"hunter2"}`,
		"reserved, repeated":   `{"_upstream_auth":1,"_upstream_auth":2}`,
		"reserved after a lot": `{"a":{"b":[1,2,{"c":"}"}]},"d":"\"}", "_upstream_auth" : 0}`,
		"a key twice":          `{"hunter2":1,"b":2,"hunter2":3}`,
		"a key twice, escaped": `{"hunter2":1,"hunter\u0032":3}`,
		"not UTF-8":            "{\"a\":\"hunter2\xff\"}",
		"keys not UTF-8":       "{\"a\xff\":1,\"a\xfe\":2}",
		"many numbers":         `{"a":[` + strings.Repeat("1,", 10_000) + `"hunter2"]}`,
		"many members":         `{"a":{` + strings.Repeat(`"b":1,`, 10_000) + `"b":"hunter2"}}`,
		"many arrays":          `{"a":[` + strings.Repeat("[],", 5000) + `"hunter2"]}`,
		"a long number":        `{"a":{"b":["hunter2",{"c":12345678901234567}]}}`,
		"a long fraction":      `{"a":0.12345678901234567890}`,
		"beyond a float64":     `{"a":1e400}`,
		"below a float64":      `{"a":-1e-400}`,
	} {
		t.Run(name, func(t *testing.T) {
			err := credential.CheckInput([]byte(document))
			if !errors.Is(err, credential.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestInputThatIsTaken(t *testing.T) {
	for _, document := range []string{
		`{}`, ` {"a":1} `, `{"a":{"_upstream_auth":1}}`, `{"_upstream_auth2":1,"_Upstream_Auth":2,"":3}`, `{"a":{"x":1},"b":{"x":1},"A":1}`,
		`{"a":[0,-0,0.0,0e9,1.50,-12e-3,9007199254740992,12345678901234567000,0.1,1E+300,5e-324,0.30000000000000004]}`, `{"a":"12345678901234567"}`,
		`{"a":[` + strings.Repeat("1,", 9000) + `1]}`, `{"a":"` + strings.Repeat(`,\"[{`, 9000) + `"}`,
	} {
		if err := credential.CheckInput([]byte(document)); err != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
}

// FuzzCheckInput holds that what is taken is the same to encoding/json, and that a
// credential made of it hides nothing.
func FuzzCheckInput(f *testing.F) {
	for _, seed := range []string{`{}`, `{"\u005fupstream_auth":1}`, `{"a":1,"a":2}`, `{"a":"\ud800","b":{"a":1}}`, "{\"\xff\":1,\"\xfe\":2}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if err := credential.CheckInput(document); err != nil {
			if !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(document, &members); err != nil {
			t.Fatalf("%q is taken: %v", document, err)
		}
		if _, there := members[credential.ReservedField]; there {
			t.Errorf("%q is taken", document)
		}
		// What a store makes of it that knows numbers as float64.
		var kept map[string]any
		if err := json.Unmarshal(document, &kept); err != nil {
			t.Fatalf("%q is taken: %v", document, err)
		}
		gjson.ParseBytes(document).ForEach(func(name, value gjson.Result) bool {
			if again, ok := kept[name.Str]; !ok || value.Type == gjson.Number && value.Num != again {
				t.Errorf("%q: %q became %v", document, name.Str, again)
			}
			return true
		})
		cred, err := credential.New(credential.Document{Data: document})
		if err != nil || !bytes.Equal(cred.JSON(), document) {
			t.Errorf("%q became %v", document, err)
		}
	})
}
