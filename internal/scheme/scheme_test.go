package scheme

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestNewRefuses(t *testing.T) {
	x := template(t, "{credential.x}")
	bad := template(t, "a\r\nInjected: b")
	oauth2 := func(change func(*OAuth2)) Options {
		o := &OAuth2{TokenURL: "https://as.example/token", ClientID: template(t, "id"), ClientSecret: template(t, "secret")}
		change(o)
		return Options{OAuth2: o}
	}
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"nothing":           {Options{}, "nothing to apply"},
		"header twice":      {Options{Headers: []Header{{"X-Key", x}, {"x-key", x}}}, "header X-Key is set twice"},
		"header alike":      {Options{Headers: []Header{{"X-Key", x}, {"X_Key", x}}}, "is set twice"},
		"query twice":       {Options{Queries: []Query{{"Key", x}, {"key", x}}}, "query parameter key is set twice"},
		"basic and header":  {Options{Headers: []Header{{"authorization", x}}, Basic: &Basic{x, x}}, "basic: header Authorization is set twice"},
		"header name":       {Options{Headers: []Header{{"X Key", x}}}, "not a valid header name"},
		"empty header name": {Options{Headers: []Header{{"", x}}}, "not a valid header name"},
		"newline in name":   {Options{Headers: []Header{{"X\r\nY", x}}}, "not a valid header name"},
		"host":              {Options{Headers: []Header{{"host", x}}}, "header Host cannot be set"},
		"content-length":    {Options{Headers: []Header{{"Content_Length", x}}}, "header Content-Length cannot be set"},
		"transfer-encoding": {Options{Headers: []Header{{"transfer-encoding", x}}}, "header Transfer-Encoding cannot be set"},
		"connection":        {Options{Headers: []Header{{"Connection", x}}}, "header Connection cannot be set"},
		"te":                {Options{Headers: []Header{{"TE", x}}}, "header Te cannot be set"},
		"no value":          {Options{Headers: []Header{{Name: "X-Key"}}}, "has no value"},
		"empty value":       {Options{Headers: []Header{{"X-Key", template(t, "")}}}, "has no value"},
		"literal newline":   {Options{Headers: []Header{{"X-Key", bad}}}, "has a control character in it"},
		"literal too long":  {Options{Headers: []Header{{"X-Key", template(t, strings.Repeat("a", 16<<10+1))}}}, "longer than 16384 bytes"},
		"query name":        {Options{Queries: []Query{{"", x}}}, "has no name"},
		"query UTF-8":       {Options{Queries: []Query{{"q", template(t, "\xff")}}}, "is not UTF-8"},
		"query value":       {Options{Queries: []Query{{Name: "q"}}}, "has no value"},
		"no user":           {Options{Basic: &Basic{Password: x}}, "no user name"},
		"no password":       {Options{Basic: &Basic{User: x}}, "no password"},
		"user with colon":   {Options{Basic: &Basic{template(t, "a:b"), x}}, "has a colon"},
		"password control":  {Options{Basic: &Basic{x, template(t, "a\x00b")}}, "control character"},

		"token_url http":          {oauth2(func(o *OAuth2) { o.TokenURL = "http://as.example/token" }), "must be https"},
		"token_url loopback-like": {oauth2(func(o *OAuth2) { o.TokenURL = "http://127.0.0.1.example/token" }), "must be https"},
		"token_url relative":      {oauth2(func(o *OAuth2) { o.TokenURL = "/token" }), "not an absolute URL"},
		"token_url scheme":        {oauth2(func(o *OAuth2) { o.TokenURL = "ftp://localhost/token" }), "must be https"},
		"token_url user":          {oauth2(func(o *OAuth2) { o.TokenURL = "https://u:p@as.example/token" }), "user information"},
		"token_url fragment":      {oauth2(func(o *OAuth2) { o.TokenURL = "https://as.example/token#x" }), "fragment"},
		"no client_id":            {oauth2(func(o *OAuth2) { o.ClientID = nil }), "client_id is missing"},
		"no secret":               {oauth2(func(o *OAuth2) { o.ClientSecret = nil }), "client_auth basic needs"},
		"both secrets":            {oauth2(func(o *OAuth2) { o.ClientSecretFile = "f" }), "exclude each other"},
		"public with secret":      {oauth2(func(o *OAuth2) { o.ClientAuth = ClientAuthNone }), "goes without a client secret"},
		"client_auth":             {oauth2(func(o *OAuth2) { o.ClientAuth = "jwt" }), "not basic, post or none"},
		"scope":                   {oauth2(func(o *OAuth2) { o.Scopes = []string{"a b"} }), "is not a scope"},
		"param grant_type":        {oauth2(func(o *OAuth2) { o.Params = map[string]string{"grant_type": "x"} }), "has its own setting"},
		"param refresh_token":     {oauth2(func(o *OAuth2) { o.Params = map[string]string{"refresh_token": "x"} }), "has its own setting"},
		"param scope":             {oauth2(func(o *OAuth2) { o.Params = map[string]string{"scope": "x"}; o.Scopes = []string{"y"} }), "exclude each other"},
		"field reserved":          {oauth2(func(o *OAuth2) { o.Fields.AccessToken = "_upstream_auth.x" }), "is reserved"},
		"field query":             {oauth2(func(o *OAuth2) { o.Fields.AccessToken = "#(a==1).x" }), "cannot stand in the path"},
		"field wildcard":          {oauth2(func(o *OAuth2) { o.Fields.Scope = "sc*" }), "cannot stand in the path"},
		"field empty key":         {oauth2(func(o *OAuth2) { o.Fields.Scope = "a..b" }), "empty key"},
		"field index":             {oauth2(func(o *OAuth2) { o.Fields.Scope = "a.99999999.b" }), "index 99999999"},
		"field last index":        {oauth2(func(o *OAuth2) { o.Fields.ExpiresAt = "a.0" }), "index 0"},
		"field append":            {oauth2(func(o *OAuth2) { o.Fields.Scope = "a.-1.b" }), "index -1"},
		"field index spelled odd": {oauth2(func(o *OAuth2) { o.Fields.Scope = "a.01.b" }), "index 01"},
		"fields overlap":          {oauth2(func(o *OAuth2) { o.Fields.RefreshToken = "access_token.r" }), "overlap"},
		"fields the same":         {oauth2(func(o *OAuth2) { o.Fields.RefreshToken = "access_token" }), "overlap"},

		"first field reserved":       {oauth2(func(o *OAuth2) { o.FirstFields = []FieldMapping{{"_upstream_auth.by", "x"}} }), "is reserved"},
		"first field is a token":     {oauth2(func(o *OAuth2) { o.FirstFields = []FieldMapping{{"refresh_token", "x"}} }), "first fields: fields \"refresh_token\""},
		"refresh field above tokens": {oauth2(func(o *OAuth2) { o.Fields.Scope = "t.s"; o.RefreshFields = []FieldMapping{{"t", "x"}} }), "overlap"},
		"refresh field below token":  {oauth2(func(o *OAuth2) { o.RefreshFields = []FieldMapping{{"scope.x", "x"}} }), "overlap"},
		"refresh fields overlap":     {oauth2(func(o *OAuth2) { o.RefreshFields = []FieldMapping{{"a", "x"}, {"b", "x"}, {"a.b", "y"}} }), "fields \"a\" and \"a.b\" overlap"},
		"first field twice":          {oauth2(func(o *OAuth2) { o.FirstFields = []FieldMapping{{"a", "x"}, {"a", "y"}} }), "overlap"},
		"refresh field without name": {oauth2(func(o *OAuth2) { o.RefreshFields = []FieldMapping{{"", "x"}} }), "empty key"},
		"refresh field with query":   {oauth2(func(o *OAuth2) { o.RefreshFields = []FieldMapping{{"a.#", "x"}} }), "cannot stand in the path"},
		"refresh field from nowhere": {oauth2(func(o *OAuth2) { o.RefreshFields = []FieldMapping{{Field: "a"}} }), "path in the token response is missing"},
		"first field misspelled":     {oauth2(func(o *OAuth2) { o.FirstFields = []FieldMapping{{"a", "x.y|@hots"}} }), "unknown modifier @hots"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(test.options)
			if s != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, %v; want %q", s, err, test.want)
			}
		})
	}
}

func TestNewTakesHTTPOnLoopbackHosts(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:9/t", "http://[::1]/t", "http://localhost:1/t", "http://LOCALHOST/t", "https://as.example/t?x=1"} {
		newScheme(t, Options{OAuth2: &OAuth2{TokenURL: url, ClientID: template(t, "id"), ClientAuth: ClientAuthNone}})
	}
}

func TestOAuth2WithoutMappingIsBearer(t *testing.T) {
	s := newScheme(t, Options{OAuth2: &OAuth2{
		TokenURL: "https://as.example/t", ClientID: template(t, "id"), ClientAuth: ClientAuthNone,
		Fields: Fields{AccessToken: "tokens.access"},
	}})
	req := &http.Request{}
	resolve(t, s, `{"tokens": {"access": "abc"}}`).Apply(req)
	if got := req.Header.Get("Authorization"); got != "Bearer abc" {
		t.Errorf("got %q", got)
	}
	if o := s.OAuth2(); o.RefreshAhead != DefaultRefreshAhead || o.Fields.RefreshToken != "refresh_token" || o.ClientAuth != ClientAuthNone {
		t.Errorf("defaults are not filled in: %+v", o)
	}

	own := newScheme(t, Options{
		Headers: []Header{{"X-Token", template(t, "{credential.access_token}")}},
		OAuth2:  &OAuth2{TokenURL: "https://as.example/t", ClientID: template(t, "id"), ClientAuth: ClientAuthNone},
	})
	req = &http.Request{}
	resolve(t, own, `{"access_token": "abc"}`).Apply(req)
	if len(req.Header) != 1 || req.Header.Get("X-Token") != "abc" {
		t.Errorf("with a mapping of its own: got %v", req.Header)
	}
}

func TestResolveRefusesWhatCannotBeSent(t *testing.T) {
	field := template(t, "{credential.x}")
	mixed := template(t, "a {credential.ok} {credential.x}")
	header := Options{Headers: []Header{{"X-Key", field}}}
	mixedHeader := Options{Headers: []Header{{"X-Key", mixed}}}
	user := Options{Basic: &Basic{field, template(t, "p")}}
	password := Options{Basic: &Basic{template(t, "u"), field}}
	query := Options{Queries: []Query{{"q", field}}}
	long := `"` + strings.Repeat("a", 16<<10+1) + `"`

	for name, test := range map[string]struct {
		options Options
		value   string
		reason  string
	}{
		"CRLF in a header":       {header, `"hunter2\r\nX-Other: 1"`, "has a control character in it"},
		"LF at a header's end":   {header, `"hunter2\n"`, "has a control character in it"},
		"NUL in a header":        {header, `"hunter2\u0000"`, "has a control character in it"},
		"DEL in a header":        {header, `"hunter2\u007f"`, "has a control character in it"},
		"LF in a mixed header":   {mixedHeader, `"hunter2\n"`, "has a control character in it"},
		"bytes in a header":      {header, "\"hunter2\xff\"", "is not UTF-8"},
		"blank header":           {header, `"  "`, "is empty"},
		"empty header":           {header, `""`, "is empty"},
		"long header":            {header, long, "makes a value longer than 16384 bytes"},
		"long mixed header":      {mixedHeader, long, "makes a value longer than 16384 bytes"},
		"object in a header":     {header, `{"hunter2": 1}`, "is not a string, number or boolean"},
		"colon in a user name":   {user, `"hunter2:x"`, "has a colon in it, which a user name cannot have"},
		"empty user name":        {user, `""`, "is empty"},
		"newline in a user name": {user, `"hunter2\n"`, "has a control character in it"},
		"newline in a password":  {password, `"hunter2\n"`, "has a control character in it"},
		"long password":          {password, long, "makes a value longer than 16384 bytes"},
		"bytes in a query":       {query, "\"hunter2\xff\"", "is not UTF-8"},
		"empty query":            {query, `""`, "is empty"},
		"long query":             {query, long, "makes a value longer than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := newScheme(t, test.options).Resolve(newCredential(t, `{"ok": "ok", "x": `+test.value+`}`))
			var field *credential.FieldError
			if v != nil || !errors.As(err, &field) || field.Path != "x" || field.Reason != test.reason {
				t.Fatalf("got %v, %v; want %q", v, err, test.reason)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error quotes the value: %v", err)
			}
		})
	}
}

func TestBasicIsEncodedAsRFC7617Says(t *testing.T) {
	s := newScheme(t, Options{Basic: &Basic{template(t, "{credential.u}"), template(t, "{credential.p}")}})
	for document, want := range map[string]string{
		`{"u": "Aladdin", "p": "open sesame"}`: "Aladdin:open sesame",
		`{"u": "test", "p": "123\u00a3"}`:      "test:123\u00a3",
		`{"u": "sk_live", "p": ""}`:            "sk_live:",
		`{"u": "u", "p": "a:b:c"}`:             "u:a:b:c",
	} {
		req := &http.Request{Header: http.Header{"Authorization": {"client's"}}}
		resolve(t, s, document).Apply(req)
		want = "Basic " + base64.StdEncoding.EncodeToString([]byte(want))
		if got := req.Header["Authorization"]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", document, got, want)
		}
	}
}
