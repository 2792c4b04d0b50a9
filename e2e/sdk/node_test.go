package sdk

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// token is one that an SDK can read: it looks for the claim exp.
const token = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6ImFjbWUifQ.signature"

const apiKey = `k"3'y`

const patchBody = `{"credentials":{"apiKey":"k\"3'y"}}`

func (a *api) env() Env { return Env{"API_URI": a.address, "TOKEN": token, "USER_API_KEY": apiKey} }

// examples are those that both packages have, and what they send and print.
var examples = map[Example]struct{ method, body, output string }{
	Credentials:      {method: http.MethodPatch, body: patchBody},
	FetchCredentials: {method: http.MethodPatch, body: patchBody},
	SelfPatch:        {method: http.MethodPatch, body: patchBody},
	SelfGet:          {method: http.MethodGet, output: `{"id":"acme"}`},
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestExamplesInNode(t *testing.T) {
	for _, p := range []Package{IntegrationApp, Membrane} {
		for e, want := range examples {
			t.Run(p.Name+" "+string(e), func(t *testing.T) {
				a := startAPI(t)
				output, err := p.Run(deadline(t), e, a.env())
				if err != nil || strings.TrimSpace(string(output)) != want.output {
					t.Fatalf("%q, %v", output, err)
				}
				requests, preflights := a.await(t.Context(), t, 1)
				if r := requests[0]; len(requests) != 1 || len(preflights) != 0 || r.method != want.method || r.path != "/self" ||
					r.body != want.body || r.authorization != "Bearer "+token {
					t.Errorf("%+v %+v", requests, preflights)
				}
			})
		}
	}
}

func TestTokenThatMembraneMakes(t *testing.T) {
	const secret = "a workspace secret of more than thirty-two bytes"
	a := startAPI(t)
	env := Env{"API_URI": a.address, "USER_API_KEY": apiKey, "WORKSPACE_KEY": "workspace", "WORKSPACE_SECRET": secret, "TENANT_KEY": "acme"}
	if output, err := Membrane.Run(deadline(t), WorkspaceToken, env); err != nil || strings.TrimSpace(string(output)) != `{"id":"acme"}` {
		t.Fatalf("%q, %v", output, err)
	}
	requests, _ := a.await(t.Context(), t, 2)
	for i, method := range []string{http.MethodPatch, http.MethodGet} {
		if requests[i].method != method || requests[i].path != "/self" {
			t.Errorf("%+v", requests[i])
		}
		made, err := jwt.ParseSigned(strings.TrimPrefix(requests[i].authorization, "Bearer "), []jose.SignatureAlgorithm{jose.HS256})
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			jwt.Claims
			ID string `json:"id"`
		}
		if err := made.Claims([]byte(secret), &claims); err != nil || claims.Issuer != "workspace" || claims.ID != "acme" || claims.Expiry == nil {
			t.Errorf("%+v, %v", claims, err)
		}
	}
}

func TestFailureInNode(t *testing.T) {
	a := startAPIThat(t, true, http.StatusUnauthorized)
	for _, p := range []Package{IntegrationApp, Membrane} {
		for _, e := range []Example{Credentials, SelfPatch} { // unawaited, and awaited
			if output, err := p.Run(deadline(t), e, a.env()); err == nil || !strings.Contains(err.Error(), "status code 401") {
				t.Errorf("%s %s: %q, %v", p.Name, e, output, err)
			}
		}
	}
}

func TestScriptWithBothPackages(t *testing.T) {
	output, err := RunScript(deadline(t), `
		import { IntegrationAppClient } from '@integration-app/sdk'
		import { MembraneClient } from '@membranehq/sdk'
		console.log([IntegrationAppClient, MembraneClient].map(c => typeof c).join(), process.env.WORD, Object.keys(process.env).length)`,
		Env{"WORD": "said"})
	if err != nil || string(output) != "function,function said 2\n" {
		t.Errorf("%q, %v", output, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := RunScript(ctx, `setInterval(() => {}, 1000)`, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
