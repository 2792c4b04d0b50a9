package refresh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
)

func TestAnAnswerSurvivesTheJournal(t *testing.T) {
	for name, a := range map[string]answer{
		"JSON":                        {status: 200, contentType: "application/json", body: []byte(granted)},
		"cut off":                     {status: 200, contentType: "application/json", body: []byte(granted[:70]), cut: true},
		"a form":                      {status: 200, contentType: "application/x-www-form-urlencoded", body: []byte("access_token=a&refresh_token=r")},
		"a form, cut off":             {status: 201, contentType: "text/plain; charset=utf-8", body: []byte("refresh_token=r&acc"), cut: true},
		"nothing":                     {status: 204},
		"no text":                     {status: 200, body: []byte("\xff\xfe\x00\x01\"<&>\u2028")},
		"quotes in its type":          {status: 200, contentType: `text/plain; charset="a\"b"`, body: []byte("a=b")},
		"a type that is no type":      {status: 200, contentType: ";;<>", body: []byte(granted)},
		"an error with tokens":        {status: 200, contentType: "application/json", body: []byte(`{"error":"x","refresh_token":"r"}`)},
		"a byte order mark before it": {status: 200, body: []byte("\xef\xbb\xbf" + granted)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readAnswer(a.raw())
			if err != nil {
				t.Fatal(err)
			}
			if got.status != a.status || got.contentType != a.contentType || got.cut != a.cut || !bytes.Equal(got.body, a.body) {
				t.Errorf("got %+v, want %+v", got, a)
			}
			wantObject, wantProblem := a.classify()
			object, problem := got.classify()
			if !bytes.Equal(object, wantObject) || !reflect.DeepEqual(problem, wantProblem) {
				t.Errorf("is read as %s, %v, and was %s, %v", object, problem, wantObject, wantProblem)
			}
		})
	}
}

func TestALongContentTypeIsCutAndReadAllTheSame(t *testing.T) {
	a := &answer{
		status: 200, body: []byte("access_token=a&refresh_token=r"),
		contentType: "application/x-www-form-urlencoded; x=" + strings.Repeat("é", 1<<20),
	}
	raw := a.raw()
	if len(raw) > 1000 {
		t.Errorf("%d bytes", len(raw))
	}
	got, err := readAnswer(raw)
	if err != nil {
		t.Fatal(err)
	}
	if object, problem := got.classify(); problem != nil || !strings.Contains(string(object), `"refresh_token":"r"`) {
		t.Errorf("got %s, %v", object, problem)
	}
}

func TestWhatIsNoJournalledAnswer(t *testing.T) {
	for _, raw := range []string{"", "{", "[]", `"canary-r2"`, `{"status":"200"}`, `{"status":200,"body":"canary-r2, not base64"}`, granted + "x"} {
		got, err := readAnswer([]byte(raw))
		if err == nil || got != nil {
			t.Errorf("%q is read as %+v", raw, got)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}

func TestTheLargestAnswerFitsIntoTheJournal(t *testing.T) {
	a := &answer{
		status: 200, cut: true, body: bytes.Repeat([]byte{0xff}, maxAnswer), contentType: strings.Repeat("\x01", 4096),
	}
	noted := newAnswer(a, &grant{spent: strings.Repeat("r", 512<<10), at: time.Now()})
	if err := noted.Check(); err != nil {
		t.Errorf("%d bytes of at most %d: %v", len(noted.Response), journal.MaxResponse, err)
	}
}

// FuzzJournalledAnswer holds that nothing in a journal file makes the reader panic,
// and that any answer means the same when it is read back.
func FuzzJournalledAnswer(f *testing.F) {
	for _, body := range []string{granted, granted[:50], "a=b&refresh_token=c", "", "\xff"} {
		f.Add(200, "application/json", []byte(body), false)
		f.Add(503, "application/x-www-form-urlencoded", []byte(body), true)
		f.Add(0, "text/plain; a=\"é\xff", (&answer{status: 200, body: []byte(body)}).raw(), true)
	}
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte, cut bool) {
		if a, err := readAnswer(body); (a == nil) == (err == nil) {
			t.Fatalf("read as %v, %v", a, err)
		}
		a := &answer{status: status, contentType: contentType, body: body, cut: cut}
		got, err := readAnswer(a.raw())
		if err != nil {
			t.Fatal(err)
		}
		if got.status != status || got.cut != cut || !bytes.Equal(got.body, body) {
			t.Fatalf("%+v became %+v", a, got)
		}
		if len(contentType) > 200 {
			return
		}
		wantObject, _ := a.classify()
		if object, _ := got.classify(); !bytes.Equal(object, wantObject) {
			t.Fatalf("%+v is read as %q, and was %q", a, object, wantObject)
		}
	})
}

// outcome is what an answer means for the refresh token.
type outcome string

const (
	gotTokens outcome = "tokens"
	unspent   outcome = "unspent"   // it is as it was
	permanent outcome = "permanent" // it is refused for good
	unknown   outcome = "unknown"   // nobody knows: the claim stays
)

func outcomeOf(problem *problem) outcome {
	switch {
	case problem == nil:
		return gotTokens
	case problem.permanent && problem.unspent:
		return "both"
	case problem.permanent:
		return permanent
	case problem.unspent:
		return unspent
	default:
		return unknown
	}
}

func TestWhatAStatusMeansForTheRefreshToken(t *testing.T) {
	const page = "<html>"
	const code = `{"error":"invalid_grant"}`
	for _, test := range []struct {
		status int
		body   string
		want   outcome
		silent bool
	}{
		{status: 200, body: granted, want: gotTokens},
		{status: 201, body: granted, want: gotTokens},
		{status: 299, body: granted, want: gotTokens},
		{status: 200, body: "", want: unknown},
		{status: 200, body: page, want: unknown},
		{status: 200, body: "[]", want: unknown},
		{status: 204, body: "", want: unknown},
		{status: 200, body: code, want: permanent},
		{status: 200, body: `{"error":"invalid_client"}`, want: unspent},
		{status: 100, body: "", want: unspent},
		{status: 301, body: granted, want: unspent},
		{status: 302, body: page, want: unspent},
		{status: 303, body: "", want: unspent},
		{status: 304, body: "", want: unspent},
		{status: 307, body: "", want: unspent},
		{status: 308, body: "", want: unspent},
		{status: 400, body: "", want: unspent},
		{status: 400, body: granted, want: unspent},
		{status: 400, body: code, want: permanent},
		{status: 401, body: code, want: permanent},
		{status: 403, body: code, want: permanent},
		{status: 404, body: page, want: unspent},
		{status: 405, body: "", want: unspent},
		{status: 407, body: "", want: unspent},
		{status: 408, body: "", want: unspent},
		{status: 413, body: "", want: unspent},
		{status: 421, body: "", want: unspent},
		{status: 425, body: "", want: unspent},
		{status: 429, body: "", want: unspent},
		{status: 429, body: code, want: unspent},
		{status: 499, body: "", want: unspent},
		{status: 500, body: "", want: unknown, silent: true},
		{status: 500, body: code, want: unknown, silent: true},
		{status: 500, body: granted, want: unknown, silent: true},
		{status: 501, body: "", want: unknown, silent: true},
		{status: 502, body: page, want: unknown, silent: true},
		{status: 503, body: "", want: unspent},
		{status: 503, body: code, want: unspent},
		{status: 504, body: "", want: unknown, silent: true},
		{status: 505, body: "", want: unknown, silent: true},
		{status: 520, body: page, want: unknown, silent: true},
		{status: 599, body: "", want: unknown, silent: true},
	} {
		t.Run(fmt.Sprintf("%d %.20q", test.status, test.body), func(t *testing.T) {
			a := &answer{status: test.status, body: []byte(test.body), retryAfter: time.Minute}
			object, problem := a.classify()
			if got := outcomeOf(problem); got != test.want {
				t.Errorf("%s, want %s: %+v", got, test.want, problem)
			}
			if (object != nil) != (a.success() && strings.HasPrefix(test.body, "{")) {
				t.Errorf("tokens may be in %s", object)
			}
			if problem == nil {
				return
			}
			if problem.silent != test.silent {
				t.Errorf("silent: %v", problem.silent)
			}
			if may := test.status == 429 || test.status == 503; (problem.retryAfter == time.Minute) != may {
				t.Errorf("asks for a rest of %v", problem.retryAfter)
			}
		})
	}
}

func TestWhatAnErrorCodeMeansForTheRefreshToken(t *testing.T) {
	for code, want := range map[string]outcome{
		// RFC 6749 section 5.2
		"invalid_request": unspent, "invalid_client": unspent, "invalid_grant": permanent,
		"unauthorized_client": permanent, "unsupported_grant_type": unspent, "invalid_scope": unspent,
		// Others that are seen
		"server_error": unspent, "temporarily_unavailable": unspent, "slow_down": unspent, "access_denied": unspent,
		"interaction_required": permanent, "login_required": permanent, "consent_required": permanent, "bad_refresh_token": permanent,
		// None of them
		"INVALID_GRANT": unspent, "invalid_grant ": unspent, "Invalid grant": unspent, "": unspent,
	} {
		body, _ := json.Marshal(map[string]string{"error": code})
		if _, problem := (&answer{status: 400, body: body}).classify(); outcomeOf(problem) != want {
			t.Errorf("%q: %s, want %s", code, outcomeOf(problem), want)
		}
	}
	for _, body := range []string{`{"error":7}`, `{"error":null}`, `{"error":{"error":"invalid_grant"}}`, `{"errors":["invalid_grant"]}`, `{"error_description":"invalid_grant"}`} {
		if _, problem := (&answer{status: 400, body: []byte(body)}).classify(); outcomeOf(problem) != unspent {
			t.Errorf("%s: %s", body, outcomeOf(problem))
		}
	}
}

func TestAnErrorCodeInAFormCounts(t *testing.T) {
	a := &answer{status: 400, contentType: "application/x-www-form-urlencoded", body: []byte("error=invalid_grant&error_description=x")}
	if _, problem := a.classify(); outcomeOf(problem) != permanent {
		t.Errorf("got %+v", problem)
	}
}

func TestTokensBesideAnErrorAreNotDropped(t *testing.T) {
	a := &answer{status: 200, body: []byte(`{"error":"invalid_grant","refresh_token":"r2"}`)}
	object, problem := a.classify()
	if !bytes.Equal(object, a.body) || outcomeOf(problem) != permanent {
		t.Errorf("got %s, %+v", object, problem)
	}
}

func TestACutAnswerThatMayHaveHadTokensIsSilence(t *testing.T) {
	for _, body := range []string{"", "{", `{"access_tok`, page64} {
		a := &answer{status: 200, body: []byte(body), cut: true}
		if object, problem := a.classify(); object != nil || outcomeOf(problem) != unknown || !problem.silent {
			t.Errorf("%.20q: %s, %+v", body, object, problem)
		}
	}
}

var page64 = strings.Repeat("<", 64)

func TestAProblemTellsNothingThatTheEndpointWrote(t *testing.T) {
	for _, body := range []string{
		`{"error":"canary-r1"}`, `{"error":"invalid_grant","error_description":"canary-r1"}`, `{"error":"canary` + strings.Repeat("r", 50) + `"}`, "canary-r1",
	} {
		for _, status := range []int{200, 302, 400, 500} {
			if _, problem := (&answer{status: status, body: []byte(body)}).classify(); problem == nil || strings.Contains(problem.Error(), "canary") {
				t.Errorf("%d %s: %v", status, body, problem)
			}
		}
	}
}
