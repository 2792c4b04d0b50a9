package renew_test

import (
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// An answer may have tokens in it where nobody looks for them: it is kept, and the token is
// not sent again, until the configuration is mended.
func TestAnswerWithTokensElsewhereIsKeptForAnotherConfiguration(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(nil)
		p, rejected := f.start(nil), f.stored()
		p.Start()
		f.answers(always(200, `{"data":{"access":"canary-a2","refresh":"canary-r2"}}`))
		for range 60 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
			time.Sleep(5 * time.Second)
		}
		f.wantAsked(1)

		f.configure(func(o *oauth2.Config) {
			o.ResponseFields = oauth2.ResponseFields{AccessToken: "data.access", RefreshToken: "data.refresh"}
		})
		f.reconfigured()
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(1)
		f.wantRecord(readyFor("canary-r2"))
	})
}
