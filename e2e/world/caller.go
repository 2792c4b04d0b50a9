package world

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// APISite is the host of the site with the credentials API, an address: the SDKs
	// find it by that.
	APISite = "127.0.0.1"

	// WorkspaceKey is the issuer of the tokens of its callers.
	WorkspaceKey = "workspace-of-the-test"

	// WorkspaceSecret is the file with the secret that they are signed with.
	WorkspaceSecret = "workspace-secret"
)

// WithAPI adds a site with the credentials API to a configuration. Lines are more of
// its directive.
func (w *World) WithAPI(c Configuration, lines string) Configuration {
	w.Helper()
	secret := "workspace secret " + rand.Text()
	w.Secrets.Add("the workspace secret", secret)
	w.File(WorkspaceSecret, secret+"\n")
	token := fmt.Sprintf("token hs256 {\nsecret_file %s\n}\nissuer %s\n", filepath.Join(w.Files, WorkspaceSecret), WorkspaceKey)
	return c.With(APISite, token+"operators role operator\n"+lines)
}

// With adds a site with the credentials API that has these lines.
func (c Configuration) With(name, lines string) Configuration {
	if c.Sites == nil {
		c.Sites = []Site{{Log: true}}
	}
	c.Sites = append(c.Sites, Site{Name: name, Around: "upstream_auth_api api {\n" + lines + "\n}", Log: true})
	return c
}

// Claims are what a caller's token says.
type Claims map[string]any

// Without is claims without one.
func (c Claims) Without(name string) Claims {
	delete(c, name)
	return c
}

// With is claims with another value.
func (c Claims) With(name string, value any) Claims {
	c[name] = value
	return c
}

// ClaimsOf are those that a tenant's token has.
func ClaimsOf(tenant string) Claims {
	return Claims{"iss": WorkspaceKey, "id": tenant, "exp": time.Now().Add(time.Hour).Unix()}
}

// TokenOf makes the token of a tenant.
func (w *World) TokenOf(tenant string) string {
	w.Helper()
	return w.Signed(ClaimsOf(tenant))
}

// Operator makes the token of an operator.
func (w *World) Operator() string {
	w.Helper()
	return w.Signed(ClaimsOf("operator").With("role", "operator"))
}

// Signed makes a token with the workspace's secret.
func (w *World) Signed(c Claims) string {
	w.Helper()
	return w.SignedWith(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(w.Read(WorkspaceSecret))}, c)
}

// SignedWith is Signed with another key.
func (w *World) SignedWith(key jose.SigningKey, c Claims) string {
	w.Helper()
	signer, err := jose.NewSigner(key, nil)
	w.Check(err)
	token, err := jwt.Signed(signer).Claims(map[string]any(c)).Serialize()
	w.Check(err)
	w.Secrets.Add("a caller's token", token)
	return token
}

// Call is a request to the credentials API.
type Call struct {
	Site   string // default: APISite
	Method string // default: GET, or PATCH with credentials
	Path   string // default: /self
	Token  string
	Patch  any    // the credentials to bring
	Body   string // instead
	Header http.Header
}

// Description is what the API says of a tenant, or of what went wrong.
type Description struct {
	ID          string         `json:"id"`
	Provider    string         `json:"provider"`
	Version     uint64         `json:"version"`
	WrittenBy   string         `json:"written_by"`
	Status      string         `json:"status"`
	Disabled    bool           `json:"disabled"`
	Credentials map[string]any `json:"credentials"`
	Code        string         `json:"code"`
	Message     string         `json:"message"`
}

// Answer is the API's answer.
type Answer struct {
	Response
	Description
}

// Call calls the API, and checks that its answer has no secret in it.
func (w *World) Call(c Call) (Answer, error) {
	r := Request{Site: c.Site, Method: c.Method, Path: c.Path, ID: "call " + rand.Text(), Header: make(http.Header)}
	if r.Site == "" {
		r.Site = APISite
	}
	if r.Path == "" {
		r.Path = "/self"
	}
	if c.Patch != nil {
		body, err := json.Marshal(map[string]any{"credentials": c.Patch})
		if err != nil {
			return Answer{}, err
		}
		c.Body = string(body)
	}
	if c.Body != "" {
		r.Body = []byte(c.Body)
		r.Header.Set("Content-Type", "application/json")
		if r.Method == "" {
			r.Method = http.MethodPatch
		}
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for name, values := range c.Header {
		r.Header[name] = values
	}
	res, err := w.Send(w.Ctx, r)
	if err != nil {
		return Answer{}, err
	}
	for _, leak := range w.Secrets.Scan("answer of the API", append([]byte(fmt.Sprint(res.Header)), res.Content...)) {
		w.Errorf("leak: %s", leak)
	}
	a := Answer{Response: res}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		return a, fmt.Errorf("%s %s: status %d: %q", r.Method, r.Path, res.StatusCode, res.Content)
	}
	return a, json.Unmarshal(res.Content, &a.Description)
}

// Answers calls the API and ends the test unless its answer has a status and a code.
func (w *World) Answers(c Call, status int, code string) Answer {
	w.Helper()
	a, err := w.Call(c)
	w.Check(err)
	if a.StatusCode != status || a.Code != code {
		w.Fatalf("%s %s: status %d %q (%s), not %d %q", c.Method, c.Path, a.StatusCode, a.Code, a.Message, status, code)
	}
	return a
}

// Brings has a tenant bring credentials itself.
func (w *World) Brings(tenant string, credentials any) Answer {
	w.Helper()
	a := w.Answers(Call{Token: w.TokenOf(tenant), Patch: credentials}, http.StatusOK, "")
	if a.ID != tenant || a.WrittenBy != "api" || a.Header.Get("ETag") != fmt.Sprintf("%q", fmt.Sprint(a.Version)) {
		w.Errorf("%s: answer %+v, ETag %s", tenant, a.Description, a.Header.Get("ETag"))
	}
	return a
}
