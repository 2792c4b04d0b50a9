package e2e

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
	// apiSite is the host of the site with the credentials API, an address: the SDKs
	// find it by that.
	apiSite = "127.0.0.1"

	// workspaceKey is the issuer of the tokens of its callers.
	workspaceKey = "workspace-of-the-test"

	// workspaceSecret is the file with the secret that they are signed with.
	workspaceSecret = "workspace-secret"
)

// patientVault waits for Vault on a busy machine that runs all of this.
const patientVault = "timeout 20s\n"

// withAPI adds a site with the credentials API to a configuration. Lines are more of
// its directive.
func (w *world) withAPI(c configuration, lines string) configuration {
	w.Helper()
	secret := "workspace secret " + rand.Text()
	w.secrets.Add("the workspace secret", secret)
	w.file(workspaceSecret, secret+"\n")
	token := fmt.Sprintf("token hs256 {\nsecret_file %s\n}\nissuer %s\n", filepath.Join(w.files, workspaceSecret), workspaceKey)
	return c.with(apiSite, token+"operators role operator\n"+lines)
}

// with adds a site with the credentials API that has these lines.
func (c configuration) with(name, lines string) configuration {
	if c.sites == nil {
		c.sites = []site{{log: true}}
	}
	c.sites = append(c.sites, site{name: name, around: "upstream_auth_api api {\n" + lines + "\n}", log: true})
	return c
}

// claims are what a caller's token says.
type claims map[string]any

// without is claims without one.
func (c claims) without(name string) claims {
	delete(c, name)
	return c
}

// with is claims with another value.
func (c claims) with(name string, value any) claims {
	c[name] = value
	return c
}

// claimsOf are those that a tenant's token has.
func claimsOf(tenant string) claims {
	return claims{"iss": workspaceKey, "id": tenant, "exp": time.Now().Add(time.Hour).Unix()}
}

// tokenOf makes the token of a tenant.
func (w *world) tokenOf(tenant string) string {
	w.Helper()
	return w.signed(claimsOf(tenant))
}

// operator makes the token of an operator.
func (w *world) operator() string {
	w.Helper()
	return w.signed(claimsOf("operator").with("role", "operator"))
}

// signed makes a token with the workspace's secret.
func (w *world) signed(c claims) string {
	w.Helper()
	return w.signedWith(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(w.read(workspaceSecret))}, c)
}

func (w *world) signedWith(key jose.SigningKey, c claims) string {
	w.Helper()
	signer, err := jose.NewSigner(key, nil)
	w.check(err)
	token, err := jwt.Signed(signer).Claims(map[string]any(c)).Serialize()
	w.check(err)
	w.secrets.Add("a caller's token", token)
	return token
}

// call is a request to the credentials API.
type call struct {
	site   string // default: apiSite
	method string // default: GET, or PATCH with credentials
	path   string // default: /self
	token  string
	patch  any    // the credentials to bring
	body   string // instead
	header http.Header
}

// description is what the API says of a tenant, or of what went wrong.
type description struct {
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

// answer is the API's answer.
type answer struct {
	response
	description
}

// call calls the API, and checks that its answer has no secret in it.
func (w *world) call(c call) (answer, error) {
	r := request{site: c.site, method: c.method, path: c.path, id: "call " + rand.Text(), header: make(http.Header)}
	if r.site == "" {
		r.site = apiSite
	}
	if r.path == "" {
		r.path = "/self"
	}
	if c.patch != nil {
		body, err := json.Marshal(map[string]any{"credentials": c.patch})
		if err != nil {
			return answer{}, err
		}
		c.body = string(body)
	}
	if c.body != "" {
		r.body = []byte(c.body)
		r.header.Set("Content-Type", "application/json")
		if r.method == "" {
			r.method = http.MethodPatch
		}
	}
	if c.token != "" {
		r.header.Set("Authorization", "Bearer "+c.token)
	}
	for name, values := range c.header {
		r.header[name] = values
	}
	res, err := w.send(w.ctx, r)
	if err != nil {
		return answer{}, err
	}
	for _, leak := range w.secrets.Scan("answer of the API", append([]byte(fmt.Sprint(res.Header)), res.body...)) {
		w.Errorf("leak: %s", leak)
	}
	a := answer{response: res}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		return a, fmt.Errorf("%s %s: status %d: %q", r.method, r.path, res.StatusCode, res.body)
	}
	return a, json.Unmarshal(res.body, &a.description)
}

// answers calls the API and ends the test unless its answer has a status and a code.
func (w *world) answers(c call, status int, code string) answer {
	w.Helper()
	a, err := w.call(c)
	w.check(err)
	if a.StatusCode != status || a.Code != code {
		w.Fatalf("%s %s: status %d %q (%s), not %d %q", c.method, c.path, a.StatusCode, a.Code, a.Message, status, code)
	}
	return a
}

// brings has a tenant bring credentials itself.
func (w *world) brings(tenant string, credentials any) answer {
	w.Helper()
	a := w.answers(call{token: w.tokenOf(tenant), patch: credentials}, http.StatusOK, "")
	if a.ID != tenant || a.WrittenBy != "api" || a.Header.Get("ETag") != fmt.Sprintf("%q", fmt.Sprint(a.Version)) {
		w.Errorf("%s: answer %+v, ETag %s", tenant, a.description, a.Header.Get("ETag"))
	}
	return a
}
