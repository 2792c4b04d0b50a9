package tokenrequest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func respond(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// zipped answers with gzip, whatever was asked for.
func zipped(write func(io.Writer)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		g := gzip.NewWriter(w)
		write(g)
		g.Close()
	}
}

// cut answers with less than was promised.
func cut(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		respond(200, contentType, body)(w, r)
	}
}

func TestTokensAreNeverLost(t *testing.T) {
	const complete, incomplete = true, false
	for name, test := range map[string]struct {
		handler  http.HandlerFunc
		complete bool
	}{
		"JSON":                {respond(200, "application/json;charset=UTF-8", granted), complete},
		"JSON as text":        {respond(200, "text/plain", granted), complete},
		"JSON as a page":      {respond(200, "text/html", "\xef\xbb\xbf\n"+granted+"\n"), complete},
		"JSON as a form":      {respond(200, "application/x-www-form-urlencoded", granted), complete},
		"status 201":          {respond(201, "", granted), complete},
		"odd lifetime":        {respond(200, "application/json", strings.Replace(granted, "3600", `["soon"]`, 1)), complete},
		"odd error":           {respond(200, "application/json", strings.Replace(granted, "3600", `1,"error":{}`, 1)), complete},
		"form":                {respond(200, "application/x-www-form-urlencoded", "access_token=canary-a2&refresh_token=canary-r2"), complete},
		"form as text":        {respond(200, "text/plain; charset=utf-8", "access_token=canary-a2&refresh_token=canary-r2"), complete},
		"garbage behind it":   {respond(200, "application/json", granted+"<!-- served by x -->"), incomplete},
		"deep JSON behind it": {respond(200, "application/json", granted[:len(granted)-1]+`,"x":`+strings.Repeat("[", 100000)), incomplete},
		"too large behind it": {respond(200, "application/json", granted[:len(granted)-1]+`,"x":1`+strings.Repeat(" ", tokenrequest.MaxBody)+`}`), incomplete},
		"cut off behind it":   {cut("application/json", granted[:len(granted)-1]+`,"x":12`), incomplete},
		"form cut off":        {cut("text/plain", "access_token=canary-a2&refresh_token=canary-r2&expires_in=36"), incomplete},
		"chunks cut off": {func(w http.ResponseWriter, r *http.Request) {
			respond(200, "application/json", granted)(w, r)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, incomplete},
		"gzip": {zipped(func(w io.Writer) { io.WriteString(w, granted) }), complete},
		"gzip bomb behind it": {zipped(func(w io.Writer) {
			io.WriteString(w, granted[:len(granted)-1]+`,"x":"`)
			for range 16 { // MiB
				if _, err := w.Write(bytes.Repeat([]byte("a"), 1<<20)); err != nil {
					return
				}
			}
		}), incomplete},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ask(t, serve(t, test.handler).URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Body) > tokenrequest.MaxBody {
				t.Errorf("%d bytes", len(r.Body))
			}
			object, complete, e := r.TokenResponse()
			var tokens map[string]any
			if e != nil || complete != test.complete || json.Unmarshal(object, &tokens) != nil ||
				tokens["access_token"] != "canary-a2" || tokens["refresh_token"] != "canary-r2" {
				t.Errorf("got %.200s, %t, %v", object, complete, e)
			}
		})
	}
}

func TestAnswersWithoutTokens(t *testing.T) {
	reset := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		error   string
		meaning string
	}{
		"invalid_grant":        {respond(400, "application/json", `{"error":"invalid_grant"}`), "token endpoint answered 400, invalid_grant", "permanent"},
		"invalid_grant as 401": {respond(401, "application/json", `{"error":"invalid_grant"}`), "token endpoint answered 401, invalid_grant", "permanent"},
		"invalid_grant, odd":   {respond(400, "application/json", `{"error":"invalid_grant","expires_in":{}}`), "token endpoint answered 400, invalid_grant", "permanent"},
		"invalid_grant, form":  {respond(400, "application/x-www-form-urlencoded", `error=invalid_grant`), "token endpoint answered 400, invalid_grant", "permanent"},
		"invalid_grant, text":  {respond(400, "text/plain", `{"error":"invalid_grant"}`), "token endpoint answered 400, invalid_grant", "permanent"},
		"invalid_client":       {respond(401, "application/json", `{"error":"invalid_client"}`), "token endpoint answered 401, invalid_client", "unspent"},
		"unknown error":        {respond(400, "application/json", `{"error":"canary-r1"}`), "token endpoint answered 400, unknown_error", "unspent"},
		"error in an object":   {respond(400, "application/json", `{"error":{"code":1}}`), "token endpoint answered 400, no token response", "unspent"},
		"page":                 {respond(404, "text/html", `<h1>canary</h1>`), "token endpoint answered 404, no token response", "unspent"},
		"challenge": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
		}, "token endpoint answered 401, no token response", "unspent"},
		"tokens with a 400":     {respond(400, "", granted), "token endpoint answered 400, no token response", "unspent"},
		"408":                   {respond(408, "", ""), "token endpoint answered 408, no token response", "unspent"},
		"421":                   {respond(421, "", ""), "token endpoint answered 421, no token response", "unspent"},
		"429":                   {respond(429, "", `{"error":"invalid_grant"}`), "token endpoint answered 429, invalid_grant", "unspent"},
		"503":                   {respond(503, "", `canary`), "token endpoint answered 503, no token response", "unspent"},
		"500":                   {respond(500, "", `{"error":"server_error"}`), "token endpoint answered 500, server_error", "no response"},
		"502":                   {respond(502, "", ``), "token endpoint answered 502, no token response", "no response"},
		"504":                   {respond(504, "", granted), "token endpoint answered 504, no token response", "no response"},
		"page with 200":         {respond(200, "text/html", "<h1>canary</h1>"), "token endpoint answered 200, no token response", ""},
		"nothing with 200":      {respond(200, "application/json", ""), "token endpoint answered 200, no token response", ""},
		"204":                   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "token endpoint answered 204, no token response", ""},
		"cut off in the tokens": {cut("application/json", `{"access_token":"canary-a`), "token endpoint answered 200, no token response", "no response"},
		"nothing but a bomb":    {zipped(func(w io.Writer) { w.Write(bytes.Repeat([]byte("["), 2<<20)) }), "token endpoint answered 200, no token response", "no response"},
		"broken gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, granted)
		}, "token endpoint answered 200, no token response", "no response"},
		"redirect":                {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "token endpoint answered 302, no token response", "unspent"},
		"redirect of the request": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 307) }, "token endpoint answered 307, no token response", "unspent"},
		"closed":                  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "token endpoint: " + ended, "no response"},
		"reset":                   {reset, "token endpoint: " + ended, "no response"},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.ReadAll(r.Body)
				test.handler(w, r)
			})
			r, err := ask(t, s.URL, nil)
			e, object := (*tokenrequest.Error)(nil), []byte(nil)
			if err == nil {
				object, _, e = r.TokenResponse()
			} else {
				e = problem(t, err)
			}
			if object != nil || e == nil || e.Error() != test.error || flags(e) != test.meaning || requests.Load() != 1 {
				t.Errorf("got %s, %v (%s) after %d requests", object, e, flags(e), requests.Load())
			}
		})
	}
}

func TestAnErrorInSpiteOfTheStatus(t *testing.T) {
	for body, meaning := range map[string]string{
		`{"error":"bad_refresh_token"}`: "permanent",
		`{"error":"invalid_request"}`:   "unspent",
		`{"error":"invalid_grant","access_token":"canary-a2","refresh_token":"canary"}`: "permanent",
	} {
		r := &tokenrequest.Response{Status: 200, Header: http.Header{}, Body: []byte(body)}
		object, complete, e := r.TokenResponse()
		if string(object) != body || !complete || e == nil || flags(e) != meaning {
			t.Errorf("got %s, %t, %v, want %s", object, complete, e, meaning)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-1": 0, "soon": 0, "99999999999999999999": 0,
		at.Add(time.Hour).Format(http.TimeFormat):  time.Hour,
		at.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		r := &tokenrequest.Response{Status: 503, Header: http.Header{"Retry-After": {value}}, At: at}
		if _, _, e := r.TokenResponse(); e == nil || e.RetryAfter != want {
			t.Errorf("%q: got %v, want %v", value, e.RetryAfter, want)
		}
	}
}

func TestDescriptionsAreTold(t *testing.T) {
	for name, test := range map[string]struct{ contentType, body, want string }{
		"JSON":           {"application/json", `{"error":"invalid_grant","error_description":"Token canary-r1 of client\nhas expired"}`, "Token … of …has expired"},
		"form":           {"text/plain", `error=invalid_grant&error_description=It+has+expired`, "It has expired"},
		"beside oddness": {"application/json", `{"error":"invalid_grant","expires_in":{},"error_description":"It has expired"}`, "It has expired"},
		"none":           {"application/json", `{"error":"invalid_grant"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ask(t, serve(t, respond(400, test.contentType, test.body)).URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, e := r.TokenResponse(); e.Description != test.want || strings.Contains(e.Error(), "expired") {
				t.Errorf("got %q, %v", e.Description, e)
			}
			unknown := refreshRequest(t, "https://as.example", 0)
			unknown.GetBody = nil
			for _, req := range []*http.Request{nil, unknown} {
				if _, _, e := r.AnswerTo(req).TokenResponse(); e.Description != "" {
					t.Errorf("without the request: %q", e.Description)
				}
			}
		})
	}
}

func TestAnAnswerIsReadBackAsItWasWritten(t *testing.T) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 678, time.UTC)
	for _, r := range []tokenrequest.Response{
		{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(granted), At: at},
		{Status: 201, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("a=\xff"), Truncated: true, At: at},
		{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}, "X-Auth-Token": {"one", "two"}, "Set-Cookie": {"session=three; Path=/"}}, At: at},
		{Status: 503, Header: http.Header{}},
	} {
		data, err := r.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back tokenrequest.Response
		if err := back.UnmarshalBinary(data); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("got %+v, %v, want %+v", back, err, r)
		}
	}
	long := tokenrequest.Response{Status: 200, Header: http.Header{"Content-Type": {strings.Repeat("x", 1<<20)}, "X-Long": {strings.Repeat("x", 1<<20)}}, At: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}
	if data, err := long.MarshalBinary(); err != nil || len(data) > 1000 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	var r tokenrequest.Response
	if err := r.UnmarshalBinary([]byte("canary")); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}

// FuzzTokenResponse holds that whatever a token endpoint sends becomes a JSON object,
// an error, or both, and that an object is taken as it is.
func FuzzTokenResponse(f *testing.F) {
	for _, body := range []string{granted, granted[:50], `{}`, `{`, `[]`, `{"a":1`, `{"a":1,`, `{"a":{"b":[1,2`, "a=b&c=d", "%", "", "\xef\xbb\xbf{}", `{"error":"invalid_grant"}`} {
		f.Add(200, "application/json", []byte(body), false)
		f.Add(400, "text/plain", []byte(body), true)
	}
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte, truncated bool) {
		r := &tokenrequest.Response{Status: status, Header: http.Header{"Content-Type": {contentType}}, Body: body, Truncated: truncated}
		object, complete, e := r.TokenResponse()
		var fields map[string]any
		switch {
		case object == nil && (e == nil || complete):
			t.Fatalf("neither object nor error, or a complete one: %v", e)
		case object != nil && json.Unmarshal(object, &fields) != nil:
			t.Fatalf("%q is not an object", object)
		case object != nil && !r.Success():
			t.Fatalf("tokens of status %d", status)
		case e != nil && e.Permanent && (e.Unspent || e.NoResponse):
			t.Fatalf("an error says two things: %+v", e)
		}
		if trimmed := bytes.TrimSpace(body); object != nil && json.Valid(trimmed) && trimmed[0] == '{' && !bytes.Equal(object, trimmed) {
			t.Fatalf("%q was changed to %q", body, object)
		}
	})
}

// FuzzRecordedResponse holds that arbitrary bytes are read, or refused, and that what
// was read is written the same way again.
func FuzzRecordedResponse(f *testing.F) {
	for _, data := range []string{"", "{}", "null", "[]", `{"status":200,"content_type":"x","cut":true,"at":"2025-01-02T03:04:05Z","body":"e30="}`, `{"status":1e9}`, `{"at":"0000-01-01T00:00:00+23:59"}`} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, again tokenrequest.Response
		if r.UnmarshalBinary(data) != nil {
			return
		}
		_, _, _ = r.TokenResponse()
		written, err := r.MarshalBinary()
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", r, err)
		}
		if err := again.UnmarshalBinary(written); err != nil || again.Status != r.Status || again.Truncated != r.Truncated || !bytes.Equal(again.Body, r.Body) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}
