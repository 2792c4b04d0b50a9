package sdk

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestOIDCProviderRotatesAndDetectsReuse(t *testing.T) {
	ctx := deadline(t)
	const delay = 200 * time.Millisecond
	p, err := StartOIDCProvider(ctx, OIDCOptions{ClientID: "sidecar", ClientSecret: "s3cret", Delay: delay})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	tokens, err := p.Seed(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	if account, current, err := p.Subject(ctx, tokens.Access); err != nil || !current || account != "acme" {
		t.Errorf("%q, %t, %v", account, current, err)
	}
	for _, want := range []int{http.StatusOK, http.StatusBadRequest} {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh}}
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/token", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("sidecar", "s3cret")
		begun := time.Now()
		res, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if took := time.Since(begun); res.StatusCode != want || took < delay {
			t.Errorf("status %d after %v", res.StatusCode, took)
		}
	}
	if _, current, err := p.Subject(ctx, tokens.Access); err != nil || current {
		t.Errorf("the access token outlived the reuse: %v", err)
	}
	requests, err := p.Requests(ctx)
	if err != nil || len(requests) != 2 || requests[0].Account != "acme" || requests[0].Token == "" || requests[0].Token != requests[1].Token ||
		requests[1].Status != http.StatusBadRequest || requests[1].Error != "invalid_grant" {
		t.Errorf("%+v, %v", requests, err)
	}
}
