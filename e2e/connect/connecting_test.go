package connect

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// connecting is a world in which people connect accounts in their browsers. An
// account has the name of its tenant, which is how the upstream tells tenants apart.
type connecting struct {
	*world.World
	front *front
	app   string // where browsers may return to
}

// newConnecting makes a world with a Caddy.
func newConnecting(t *testing.T) *connecting {
	t.Helper()
	c := prepareConnecting(t)
	c.Start(c.configuration())
	c.front.leadTo(c.World)
	return c
}

// prepareConnecting makes a world without a Caddy.
func prepareConnecting(t *testing.T) *connecting {
	t.Helper()
	f := newFront(t)
	c := &connecting{front: f}
	c.World = world.NewWith(t, authserver.Config{
		RedirectURIs: f.redirectURIs(),
		// As Salesforce does, which may move a customer.
		Fields: func(e authserver.Entry) map[string]any {
			place := map[string]string{"authorization_code": "first", "refresh_token": "second"}[e.Grant]
			return map[string]any{"instance_url": "https://" + place + ".crm.example/services"}
		},
		Claims: func(account string) map[string]any {
			return map[string]any{"tid": "tid-" + account, "account": "account of " + account}
		},
	})
	f.secrets = c.Secrets
	c.AuthURL = onLocalhost(c.AuthURL) // another site than the sidecar, for a browser
	c.app = c.Serve(httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><title>The app</title>")
	})))
	secret := rand.Text() + rand.Text()
	c.Secrets.Add("the secret of the API's tokens", secret)
	c.File("api-secret", secret)
	c.File("schema.json", `{"required":["workspace"]}`)
	c.File("keys.json", keySchema)
	return c
}

// within is the same world in a subtest.
func (c *connecting) within(t *testing.T) *connecting {
	sub := *c
	sub.World = c.Within(t)
	return &sub
}

// onLocalhost is an address of the loopback interface under its other name.
func onLocalhost(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }

// The providers that accounts are connected to.
const (
	plain  = "api"    // as it should be, at three addresses
	brief  = "brief"  // links are good for a second
	strict = "strict" // the schema wants what there is not
	tested = "tested" // the test request is answered 401
	nested = "nested" // below a handle_path
	keys   = "keys"   // has no OAuth: people fill in a form
)

var providers = []string{plain, brief, strict, tested, nested, keys}

// connectLog is the file of the site where accounts are connected, in Caddy's directory.
const connectLog = "connect-access.log"

// callback is the path of a provider's redirect URIs, start that of its links.
func callback(provider string) string { return "/" + provider + "/oauth/callback" }
func start(provider string) string    { return "/" + provider + "/oauth/connect" }

// configuration has a site where all providers can be connected to, and each one's
// API. Its access log is filtered as Caddyfile.example shows.
func (c *connecting) configuration() world.Configuration {
	c.Helper()
	others := ""
	for provider, lines := range map[string]string{
		brief:  "",
		strict: "schema " + filepath.Join(c.Files, "schema.json"),
		tested: "test " + c.APIURL + "/always-401",
		nested: "",
	} {
		others += fmt.Sprintf("provider %s {\n%s\noauth2 {\ntoken_url %s/token\nissuer %[3]s\nclient_id sidecar\nclient_secret_file %s\n}\n}\n",
			provider, lines, c.AuthURL, filepath.Join(c.Files, "client-secret"))
	}
	others += fmt.Sprintf("provider %s {\nschema %s\nheader X-Api-Key {credential.apiKey}\nallowed_hosts 127.0.0.1\ntest %s/echo\n}\n",
		keys, filepath.Join(c.Files, "keys.json"), c.APIURL)
	tokens := "token hs256 {\nsecret_file " + filepath.Join(c.Files, "api-secret") + "\n}\noperators role operator"
	var handlers strings.Builder
	for _, provider := range providers {
		fmt.Fprintf(&handlers, "handle_path /%s/api/* {\nupstream_auth_api %[1]s {\n%s\n}\n}\n", provider, tokens)
		connect := c.connect(provider)
		if provider == nested {
			connect = "handle_path /nested/* {\n" + connect + "}\n"
		}
		handlers.WriteString(connect)
	}
	return world.Configuration{
		Provider: "test " + c.APIURL + "/echo\nexpose instance_host",
		OAuth2: "issuer " + c.AuthURL + `
			token_field instance_host instance_url|@host
			refresh_field instance_host instance_url|@host
			id_token_field tid tid
			userinfo_field account account`,
		Others: others,
		Sites: []world.Site{{}, {
			Name: "127.0.0.1, http://localhost",
			Around: "log {\noutput file " + connectLog + "\n" + c.exampleFilter() + "\n}\n" +
				"route {\n" + handlers.String() + "respond \"the next handler\" 418\n}",
		}},
	}
}

// connect is the directive for a provider.
func (c *connecting) connect(provider string) string {
	lines := "redirect_uris " + c.front.plain.URL + callback(provider)
	switch provider {
	case plain:
		lines = fmt.Sprintf("redirect_uris %s\nreturn_to %s/done %[2]s/tenants/", strings.Join(c.front.addresses(callback(plain)), " "), c.app)
	case brief:
		lines += "\nlink_ttl 1s"
	case keys:
		return fmt.Sprintf("upstream_auth_connect %s {\n%s\nform https://docs.example/keys\nreturn_to %s/done\n}\n", keys, lines, c.app)
	}
	return fmt.Sprintf("upstream_auth_connect %s {\nscopes openid api\n%s\n}\n", provider, lines)
}

// exampleFilter is the filter for access logs of Caddyfile.example.
func (c *connecting) exampleFilter() string {
	c.Helper()
	example, err := os.ReadFile(filepath.Join("..", "..", "Caddyfile.example"))
	c.Check(err)
	filter := regexp.MustCompile(`(?ms)^\t\tformat filter \{.*?^\t\t\}`).Find(example)
	if filter == nil {
		c.Fatal("Caddyfile.example has no filter")
	}
	return string(filter)
}

// link asks a provider's API, as the tenant, for a link.
func (c *connecting) link(provider, tenant, returnTo string) string {
	c.Helper()
	return c.linkOf(provider, c.askForLink(provider, "/self", map[string]any{"id": tenant}, returnTo))
}

// operatorsLink asks for a link as an operator.
func (c *connecting) operatorsLink(provider, tenant string) string {
	c.Helper()
	return c.linkOf(provider, c.askForLink(provider, "/tenants/"+tenant, map[string]any{"role": "operator"}, ""))
}

// askForLink asks for a link with a token that has the claims.
func (c *connecting) askForLink(provider, whose string, claims map[string]any, returnTo string) world.Response {
	c.Helper()
	return c.askFor(http.MethodPost, provider, whose, claims, map[string]any{"return_to": returnTo})
}

// askFor makes a request about links with a token that has the claims.
func (c *connecting) askFor(method, provider, whose string, claims, options map[string]any) world.Response {
	c.Helper()
	body, err := json.Marshal(options)
	c.Check(err)
	address := c.front.plain.URL + "/" + provider + "/api" + whose + "/connect-link"
	req, err := http.NewRequestWithContext(c.Ctx, method, address, bytes.NewReader(body))
	c.Check(err)
	req.Header.Set("Authorization", "Bearer "+c.token(claims))
	req.Header.Set("Content-Type", "application/json")
	return c.newPerson().do(req)
}

func (c *connecting) linkOf(provider string, res world.Response) string {
	c.Helper()
	var link struct {
		URL     string    `json:"url"`
		Expires time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(res.Content, &link); err != nil || res.StatusCode != http.StatusOK || time.Until(link.Expires) < -time.Second {
		c.Fatalf("asking for a link: %d %s", res.StatusCode, res.Content)
	}
	if !strings.HasPrefix(link.URL, c.front.plain.URL+start(provider)+"?link=") {
		c.Fatal("the link leads elsewhere")
	}
	c.front.learn(link.URL)
	return link.URL
}

// token makes a token for the API.
func (c *connecting) token(claims map[string]any) string {
	c.Helper()
	claims["exp"] = time.Now().Add(time.Minute).Unix()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(c.Read("api-secret"))}, nil)
	c.Check(err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	c.Check(err)
	c.Secrets.Add("a token for the API", token)
	return token
}

// versions is how often a tenant's credential has been written to Vault.
func (c *connecting) versions(provider, tenant string) int {
	c.Helper()
	secret, err := c.Vault.Root.KVv2("secret").Get(c.Ctx, "upstream-auth/"+provider+"/"+tenant)
	if errors.Is(err, api.ErrSecretNotFound) {
		return 0
	}
	c.Check(err)
	return secret.VersionMetadata.Version
}

// fields are what lies in Vault for a tenant of the plain provider.
func (c *connecting) fields(tenant string) map[string]any {
	c.Helper()
	return c.fieldsOf(plain, tenant)
}

func (c *connecting) fieldsOf(provider, tenant string) map[string]any {
	c.Helper()
	secret, err := c.Vault.Root.KVv2("secret").Get(c.Ctx, "upstream-auth/"+provider+"/"+tenant)
	c.Check(err)
	return secret.Data
}

// works checks that a proxied request of a tenant arrives.
func (c *connecting) works(tenant string) {
	c.Helper()
	r := world.Request{Tenant: tenant, ID: tenant + " at " + time.Now().String(), Body: world.RandomBytes(world.KiB)}
	c.Check(c.Delivered(r, c.Must(r)))
}
