package connect

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// A link with a handoff code takes the code: typed into its page, or put into its query
// by the application.
func TestHandoff(t *testing.T) {
	f := newFixture(t, nil)
	link := f.linkWith(LinkOptions{Handoff: true})
	if len(link.Handoff) != codeLength || strings.Contains(link.URL, link.Handoff) {
		t.Fatalf("%+v", link)
	}
	response := f.browser.get(t, f.Flow, link.URL)
	if !strings.Contains(response.Body.String(), `<input id="handoff" name="handoff" required`) {
		t.Errorf("page\n%s", response.Body)
	}
	form := url.Values{"form": {formOf(response)}}
	for _, wrong := range []string{"", "AAAAAAAAAA", link.Handoff[1:]} {
		form.Set("handoff", wrong)
		f.wantFailure(f.browser.post(t, f.Flow, link.URL, form), ErrHandoff)
	}
	form.Set("handoff", " "+strings.ToLower(link.Handoff))
	response = f.browser.post(t, f.Flow, link.URL, form)
	if response.Code != http.StatusSeeOther {
		t.Fatalf("answered %d: %v", response.Code, f.log.last())
	}
	f.wantConnected(f.browser.get(t, f.Flow, f.server.consent(t, response.Header().Get("Location"))))
	f.accepted = nil

	link = f.linkWith(LinkOptions{Handoff: true})
	address := link.URL + "&handoff=" + link.Handoff
	if page := f.browser.get(t, f.Flow, address).Body.String(); strings.Contains(page, "handoff") || strings.Contains(page, link.Handoff) {
		t.Errorf("page\n%s", page)
	}
	f.wantFailure(f.browser.begin(t, f.Flow, link.URL+"&handoff=AAAAAAAAAA"), ErrHandoff)
	f.wantConnected(f.browser.get(t, f.Flow, f.server.consent(t, f.start(address))))
}

func TestHandoffCodesAreNotGuessed(t *testing.T) {
	f := newFixture(t, nil)
	link := f.linkWith(LinkOptions{Handoff: true})
	token := formOf(f.browser.get(t, f.Flow, link.URL))
	for range links.MaxAttempts {
		f.wantFailure(f.browser.post(t, f.Flow, link.URL, url.Values{"form": {token}, "handoff": {"AAAAAAAAAA"}}), ErrHandoff)
	}
	response := f.browser.post(t, f.Flow, link.URL, url.Values{"form": {token}, "handoff": {link.Handoff}})
	if response.Code != http.StatusTooManyRequests || response.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d: %v", response.Code, f.log.last())
	}
}
