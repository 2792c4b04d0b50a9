package lifecycle

import (
	"context"
	"net/http"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// What a tenant brings, or an operator deletes, in the middle of a refresh counts from
// then on: not even while the refresh has yet to learn of it do requests use its tokens.
func TestChangeInTheMiddleOfARefresh(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *setup) error
		want   string
	}{
		"replaced": {func(s *setup) error {
			_, err := s.put(`{"access_token":"theirs","refresh_token":"refresh-of-theirs"}`)
			return err
		}, "theirs"},
		"deleted": {func(s *setup) error { _, err := s.delete(false); return err }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			asked, release := make(chan struct{}), make(chan struct{})
			endpoint := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				close(asked)
				<-release
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"access_token":"refreshed","refresh_token":"refresh-2"}`))
			})
			renewer, err := oauth2.New(oauth2.Config{TokenURL: s.template(endpoint.URL), Client: oauth2.Client{ClientID: s.template("app"), ClientAuth: oauth2.ClientAuthNone}})
			s.check(err)
			s.provider = s.newProvider(renewer)
			old, err := s.put(tokens)
			s.check(err)
			coordinator := renew.New(s.cache, renew.Options{Exclusive: true})
			defer func() {
				s.check(coordinator.Wait(context.Background()))
				coordinator.Close()
			}()
			go func() {
				_, _ = coordinator.Refresh(context.Background(), s.provider.Provider, acme, old)
			}()
			<-asked
			s.check(c.change(s))

			// The store holds the refresh back right before it would learn of the change.
			reading, proceed := make(chan struct{}), make(chan struct{})
			first := true
			s.store.Fault = func(op string, _ credential.Key) error {
				if op == storetest.OpGet && first {
					first = false
					close(reading)
					<-proceed
				}
				return nil
			}
			close(release)
			<-reading
			if got := s.used("access_token"); got != c.want {
				t.Errorf("requests use %q, not %q", got, c.want)
			}
			close(proceed)
			s.check(coordinator.Wait(t.Context()))
			if got := s.used("access_token"); got != c.want {
				t.Errorf("afterwards requests use %q, not %q", got, c.want)
			}
		})
	}
}
