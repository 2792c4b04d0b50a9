package authserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/go-jose/go-jose/v3/jwt"
)

func TestGrantsWithoutARefreshToken(t *testing.T) {
	s, address := start(t, Config{})
	if err := s.Register("acme", "s3cret of acme's"); err != nil {
		t.Fatal(err)
	}
	s.SetPassword("joe", "joe's")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.Trust("service", "ann", "", key.Public())
	assertion := func(subject, audience string) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(jwt.Claims{
			Issuer: "service", Subject: subject, Audience: jwt.Audience{audience}, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)),
		}).CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	spent := assertion("ann", address+"/token")
	for _, c := range []struct {
		form    url.Values
		basic   []string
		subject string // "": it is refused
	}{
		{url.Values{"grant_type": {grantClientCredentials}}, []string{"acme", "s3cret of acme's"}, "acme"},
		{url.Values{"grant_type": {grantClientCredentials}}, []string{"acme", "s3cret/+%: ü"}, ""},
		{url.Values{"grant_type": {grantPassword}, "username": {"joe"}, "password": {"joe's"}}, nil, "joe"},
		{url.Values{"grant_type": {grantPassword}, "username": {"joe"}, "password": {"ann's"}}, nil, ""},
		{url.Values{"grant_type": {grantJWTBearer}, "assertion": {spent}}, nil, "ann"},
		{url.Values{"grant_type": {grantJWTBearer}, "assertion": {spent}}, nil, ""},
		{url.Values{"grant_type": {grantJWTBearer}, "assertion": {assertion("joe", address+"/token")}}, nil, ""},
		{url.Values{"grant_type": {grantJWTBearer}, "assertion": {assertion("ann", "https://elsewhere.example/token")}}, nil, ""},
	} {
		if c.basic == nil {
			c.basic = []string{"sidecar", "s3cret/+%: ü"}
		}
		a, err := post(t, address+"/token", c.form, c.basic...)
		subject, current := s.Subject(a.Access)
		if err != nil || (a.Status == http.StatusOK) != (c.subject != "") || current != (c.subject != "") || subject != c.subject {
			t.Errorf("%v: %+v, %v: the token is %q's", c.form, a, err, subject)
		}
	}
	if twice := s.PresentedTwice(); len(twice) != 1 || twice[0].Tenant != "ann" {
		t.Errorf("presented twice: %+v", twice)
	}
	if err := s.Register("acme", "another"); err != nil {
		t.Fatal(err)
	}
	a, err := post(t, address+"/token", url.Values{"grant_type": {grantClientCredentials}}, "acme", "s3cret of acme's")
	if err != nil || a.Error != "invalid_client" {
		t.Errorf("the old secret: %+v, %v", a, err)
	}
	if err := s.Expire("acme"); err != nil {
		t.Fatal(err)
	}
}
