package lifecycle

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
)

func TestDescriptionShowsWhatIsExposedAlone(t *testing.T) {
	s := newSetup(t)
	s.provider = s.newOAuth2(oauth2.ClientAuthNone)
	s.provider.Expose = []string{"account.id", "host"}
	written := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	for name, c := range map[string]struct{ document, want string }{
		"ready": {
			`{"access_token":"access-1","refresh_token":"refresh-1","expires_at":"2026-01-02T03:04:05Z","account":{"id":42,"key":"s3cret"},"host":"h"}`,
			`{"version":7,"written_at":"2026-01-02T02:04:05Z","expires_at":"2026-01-02T03:04:05Z","status":"ready","credentials":{"account.id":42,"host":"h"}}`,
		},
		"an exposed field is missing": {
			`{"access_token":"access-1","account":{"id":"s"}}`,
			`{"version":7,"written_at":"2026-01-02T02:04:05Z","status":"invalid","problem":"field \"host\" is missing","credentials":{"account.id":"s"}}`,
		},
		"an exposed field is an object": {
			`{"access_token":"access-1","account":{"id":{"key":"s3cret"}},"host":"h"}`,
			`{"version":7,"written_at":"2026-01-02T02:04:05Z","status":"invalid","problem":"field \"account.id\" is not a string, number or boolean","credentials":{"host":"h"}}`,
		},
		"with a refresh token that expires": {
			`{"access_token":"access-1","refresh_token":"refresh-1","refresh_token_expires_at":"2026-02-02T03:04:05Z","account":{"id":42},"host":"h"}`,
			`{"version":7,"written_at":"2026-01-02T02:04:05Z","refresh_token_expires_at":"2026-02-02T03:04:05Z","status":"ready","credentials":{"account.id":42,"host":"h"}}`,
		},
		"disabled, with a time that is none": {
			`{"access_token":"access-1","expires_at":"soon","account":{"id":true},"host":"h","_upstream_auth":{"disabled":"true","by":"host/1"}}`,
			`{"version":7,"written_at":"2026-01-02T02:04:05Z","written_by":"host/1","status":"ready","disabled":true,"credentials":{"account.id":true,"host":"h"}}`,
		},
	} {
		cred, err := credential.New(credential.Document{Data: []byte(c.document), Version: 7, WrittenAt: written})
		s.check(err)
		got, err := json.Marshal(Describe(s.provider, cred))
		s.check(err)
		if !sameJSON(got, []byte(c.want)) || strings.Contains(string(got), "s3cret") {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}
