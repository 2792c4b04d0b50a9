package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// OIDCProvider is npm's oidc-provider as a process: an authorization server of another
// make, which rotates refresh tokens and revokes a grant whose spent token comes again.
type OIDCProvider struct {
	*process.Process
	URL    string // its token endpoint is at /token
	TLSURL string // the same by TLS; "" without certificates
	client *http.Client
}

// OIDCOptions are the settings of an [OIDCProvider].
type OIDCOptions struct {
	ClientID, ClientSecret string // authenticated by the first of ClientAuth

	// Clients are further clients, as they are registered (RFC 7591 section 2).
	Clients []map[string]any

	// ClientAuth are the ways in which clients may authenticate, by their registered names.
	// Default: client_secret_basic, and all others.
	ClientAuth []string

	// Certificates is a directory with ca.pem, server.pem and server.key, for TLS.
	Certificates string

	// Delay is how long after the rotation the answer to a token request is sent.
	Delay time.Duration
}

// OIDCTokens is what an account's login would have given.
type OIDCTokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// OIDCRequest is a token request.
type OIDCRequest struct {
	Account string // whose refresh token it was
	Client  string // who asked
	By      string // what authenticated it: basic, client_secret, client_assertion or none
	Token   string // SHA-256 of the refresh token, in hex
	Status  int    // of the answer; 0 while there is none
	Error   string // its error code
}

// StartOIDCProvider starts one, and returns when it answers. The caller ends it.
func StartOIDCProvider(ctx context.Context, o OIDCOptions) (*OIDCProvider, error) {
	if err := installed(); err != nil {
		return nil, err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	if o.ClientAuth == nil {
		o.ClientAuth = []string{"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth"}
	}
	clients, err := json.Marshal(append([]map[string]any{}, o.Clients...))
	if err != nil {
		return nil, err
	}
	clientAuth, err := json.Marshal(o.ClientAuth)
	if err != nil {
		return nil, err
	}
	p := &OIDCProvider{URL: "http://" + address, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	env := []string{
		"PORT=" + port, "CLIENT_ID=" + o.ClientID, "CLIENT_SECRET=" + o.ClientSecret,
		fmt.Sprint("DELAY_MS=", o.Delay.Milliseconds()), fmt.Sprintf("CLIENTS=%s", clients), fmt.Sprintf("CLIENT_AUTH=%s", clientAuth),
	}
	if o.Certificates != "" {
		address, err := process.FreeAddress()
		if err != nil {
			return nil, err
		}
		_, port, _ := net.SplitHostPort(address)
		p.TLSURL = "https://localhost:" + port
		env = append(env, "TLS_PORT="+port, "TLS_FILES="+o.Certificates)
	}
	p.Process, err = process.Start(process.Command{Path: node, Args: []string{"oidcserver.mjs"}, Dir: dir(), Env: env})
	if err != nil {
		return nil, err
	}
	if err := p.Await(ctx, func(ctx context.Context) error { _, err := p.Requests(ctx); return err }); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// Seed authorizes the client for an account.
func (p *OIDCProvider) Seed(ctx context.Context, account string) (tokens OIDCTokens, err error) {
	return tokens, p.call(ctx, http.MethodPost, "seed?account="+url.QueryEscape(account), &tokens)
}

// Subject tells whose access token that is, if it is good.
func (p *OIDCProvider) Subject(ctx context.Context, access string) (account string, current bool, err error) {
	var answer *struct{ Account string }
	if err := p.call(ctx, http.MethodGet, "subject?access="+url.QueryEscape(access), &answer); err != nil || answer == nil {
		return "", false, err
	}
	return answer.Account, true, nil
}

// Requests returns the token requests so far.
func (p *OIDCProvider) Requests(ctx context.Context) (requests []OIDCRequest, err error) {
	return requests, p.call(ctx, http.MethodGet, "requests", &requests)
}

func (p *OIDCProvider) call(ctx context.Context, method, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, p.URL+"/test/"+path, nil)
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, req.URL.Path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(answer)
}
