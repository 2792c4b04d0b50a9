package template

import (
	"testing"

	"github.com/tidwall/gjson"
)

func TestHostOfAURL(t *testing.T) {
	for value, want := range map[string]string{
		`"https://na1.crm.example"`:                 "na1.crm.example",
		`"https://User:pa%40ss@Crm.Example:8443/x"`: "Crm.Example",
		`"http://127.0.0.1:80/"`:                    "127.0.0.1",
		`"https://[::1]:443/"`:                      "::1",
		`"https:\/\/a-b_c.example?x=https://y"`:     "a-b_c.example",
		`"crm.example"`:                             "",
		`"crm.example:443"`:                         "",
		`"//crm.example/x"`:                         "",
		`"mailto:a@b.example"`:                      "",
		`"https:///x"`:                              "",
		`"https://"`:                                "",
		`"https://a b/"`:                            "",
		`"https://a%2fb/"`:                          "",
		`"https://a\\b/"`:                           "",
		`"https://münchen.example/"`:                "",
		`"https://a\u0000b/"`:                       "",
		`""`:                                        "",
		`12`:                                        "",
		`null`:                                      "",
		`["https://x.example"]`:                     "",
		`{"a":"https://x.example"}`:                 "",
	} {
		got := gjson.Get(`{"sub":{"url":`+value+`}}`, "sub.url|@host")
		if got.Str != want || got.Exists() != (want != "") {
			t.Errorf("%s: got %s", value, got.Raw)
		}
	}
	if got := gjson.Get(`{}`, "url|@host"); got.Exists() {
		t.Errorf("of nothing: got %s", got.Raw)
	}
}
