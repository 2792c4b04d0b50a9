package bearer

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestEveryAlgorithmIsVerified(t *testing.T) {
	for algorithm, key := range map[string]any{"HS256": secret, "HS384": secret, "HS512": secret} {
		v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret), Algorithms: []string{algorithm}}})
		wantAccepted(t, v, sign(fmt.Sprintf(`{"alg":%q}`, algorithm), claims(""), key))
		wantRefused(t, v, sign(fmt.Sprintf(`{"alg":%q}`, algorithm), claims(""), "another"), errSignature)
	}
	set := keySetOf(jwk(t, rsaKey().Public(), ""), jwk(t, p256().Public(), ""), jwk(t, p384().Public(), ""),
		jwk(t, p521().Public(), ""), jwk(t, edwards().Public(), ""))
	for algorithm, key := range map[string]any{
		"RS256": rsaKey(), "RS384": rsaKey(), "RS512": rsaKey(), "PS256": rsaKey(), "PS384": rsaKey(), "PS512": rsaKey(),
		"ES256": p256(), "ES384": p384(), "ES512": p521(), "EdDSA": edwards(),
	} {
		t.Run(algorithm, func(t *testing.T) {
			v := withKeys(t, set, algorithm)
			header := fmt.Sprintf(`{"alg":%q}`, algorithm)
			token := sign(header, claims(""), key)
			wantAccepted(t, v, token)

			parts := strings.Split(token, ".")
			wantRefused(t, v, parts[0]+"."+encode([]byte(claims(`,"a":1`)))+"."+parts[2], errSignature)
			wantRefused(t, v, encode([]byte(header+" "))+"."+parts[1]+"."+parts[2], errSignature)
			wantRefused(t, v, parts[0]+"."+parts[1]+"."+parts[2][4:], errSignature)
			wantRefused(t, v, parts[0]+"."+parts[1]+".", errSignature)
			wantRefused(t, v, parts[0]+"."+parts[1]+"."+encode(make([]byte, len(parts[2])*3/4)), errSignature)
		})
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	var asked int
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, keySetOf(jwk(t, rsaOther().Public(), `"kid":"r"`)))
	}))
	defer attacker.Close()

	certificate, err := x509.CreateCertificate(nil, template(), template(), rsaOther().Public(), rsaOther())
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	x5c := strings.Join(strings.Fields(strings.Join(strings.Split(string(chain), "-----")[2:3], "")), "")
	spki, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	pkix := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)}))

	public := jwk(t, rsaKey().Public(), `"kid":"r"`)
	both := []string{"RS256", "ES256"}
	rs := func(more string, key any) string { return sign(`{"alg":"RS256","kid":"r"`+more+`}`, claims(""), key) }
	cases := map[string]struct {
		set   string // the keys that count
		token string
		want  error
	}{
		"no signature":                       {keySetOf(public), rs("", nil), errSignature},
		"alg none":                           {keySetOf(public), sign(`{"alg":"none"}`, claims(""), nil), errAlgorithm},
		"alg None":                           {keySetOf(public), sign(`{"alg":"None"}`, claims(""), nil), errAlgorithm},
		"alg none with a signature":          {keySetOf(public), sign(`{"alg":"none","kid":"r"}`, claims(""), rsaKey()), errAlgorithm},
		"alg empty":                          {keySetOf(public), sign(`{"alg":""}`, claims(""), nil), errAlgorithm},
		"no alg":                             {keySetOf(public), sign(`{"kid":"r"}`, claims(""), rsaKey()), errAlgorithm},
		"alg null":                           {keySetOf(public), sign(`{"alg":null}`, claims(""), nil), errAlgorithm},
		"alg is a list":                      {keySetOf(public), sign(`{"alg":["RS256"]}`, claims(""), rsaKey()), errAlgorithm},
		"alg in another case":                {keySetOf(public), sign(`{"alg":"rs256","kid":"r"}`, claims(""), rsaKey()), errAlgorithm},
		"Alg for alg":                        {keySetOf(public), sign(`{"Alg":"RS256","kid":"r"}`, claims(""), rsaKey()), errAlgorithm},
		"algorithm that is not configured":   {keySetOf(public), sign(`{"alg":"RS512","kid":"r"}`, claims(""), rsaKey()), errAlgorithm},
		"HS256 with the public key as PKIX":  {keySetOf(public), sign(`{"alg":"HS256","kid":"r"}`, claims(""), pkix), errAlgorithm},
		"HS256 with the public key as PKCS1": {keySetOf(public), sign(`{"alg":"HS256","kid":"r"}`, claims(""), pkcs1), errAlgorithm},
		"HS256 with the public key as JWK":   {keySetOf(public), sign(`{"alg":"HS256","kid":"r"}`, claims(""), public), errAlgorithm},
		"RS256 with the HMAC of the key":     {keySetOf(public), rs("", pkix), errSignature},
		"another key":                        {keySetOf(public), rs("", rsaOther()), errSignature},
		"PS256 signature for RS256":          {keySetOf(public), withSignature(rs("", nil), `{"alg":"PS256"}`, rsaKey()), errSignature},
		"jwk in the header":                  {keySetOf(public), rs(`,"jwk":`+jwk(t, rsaOther().Public(), ""), rsaOther()), errSignature},
		"jwk in the header, of a known kid":  {keySetOf(public), rs(`,"jwk":`+jwk(t, rsaOther().Public(), `"kid":"r"`), rsaOther()), errSignature},
		"private jwk in the header":          {keySetOf(public), rs(`,"jwk":`+jwk(t, rsaOther(), ""), rsaOther()), errForm},
		"oct jwk in the header":              {keySetOf(public), rs(`,"jwk":{"kty":"oct","k":"AAAA"}`, rsaOther()), errForm},
		"x5c in the header":                  {keySetOf(public), rs(`,"x5c":["`+x5c+`"]`, rsaOther()), errSignature},
		"x5c that is none":                   {keySetOf(public), rs(`,"x5c":["AAAA"]`, rsaKey()), errForm},
		"jku in the header":                  {keySetOf(public), rs(`,"jku":"`+attacker.URL+`"`, rsaOther()), errSignature},
		"x5u in the header":                  {keySetOf(public), rs(`,"x5u":"`+attacker.URL+`"`, rsaOther()), errSignature},
		"kid that is a path":                 {keySetOf(public), sign(`{"alg":"RS256","kid":"../../dev/null"}`, claims(""), rsaOther()), errUnknownKey},
		"kid that is a URL":                  {keySetOf(public), sign(`{"alg":"RS256","kid":"`+attacker.URL+`"}`, claims(""), rsaOther()), errUnknownKey},
		"kid in another case":                {keySetOf(public), sign(`{"alg":"RS256","kid":"R"}`, claims(""), rsaKey()), errUnknownKey},
		"kid that is a number":               {keySetOf(public), sign(`{"alg":"RS256","kid":1}`, claims(""), rsaKey()), errForm},
		"no kid and another key":             {keySetOf(public), sign(`{"alg":"RS256"}`, claims(""), rsaOther()), errSignature},
		"no kid and no fitting key":          {keySetOf(public), sign(`{"alg":"ES256"}`, claims(""), p256()), errSignature},
		"kid of a key of another kind":       {keySetOf(public), sign(`{"alg":"ES256","kid":"r"}`, claims(""), p256()), errSignature},
		"ES256 with P-384":                   {keySetOf(jwk(t, p384().Public(), `"kid":"r"`)), sign(`{"alg":"ES256","kid":"r"}`, claims(""), p384()), errSignature},
		"crit":                               {keySetOf(public), rs(`,"crit":["exp"],"exp":1`, rsaKey()), errExtension},
		"crit that is empty":                 {keySetOf(public), rs(`,"crit":[]`, rsaKey()), errExtension},
		"crit that is null":                  {keySetOf(public), rs(`,"crit":null`, rsaKey()), errExtension},
		"crit, escaped":                      {keySetOf(public), rs(`,"\u0063rit":["exp"],"exp":1`, rsaKey()), errExtension},
		"crit b64":                           {keySetOf(public), rs(`,"crit":["b64"],"b64":false`, rsaKey()), errExtension},
		"b64 without crit":                   {keySetOf(public), rs(`,"b64":false`, rsaKey()), errExtension},
		"b64 true":                           {keySetOf(public), rs(`,"b64":true`, rsaKey()), errExtension},
		"key for another algorithm":          {keySetOf(jwk(t, rsaKey().Public(), `"kid":"r","alg":"RS512"`)), rs("", rsaKey()), errSignature},
		"key for PS256":                      {keySetOf(jwk(t, rsaKey().Public(), `"kid":"r","alg":"PS256"`)), rs("", rsaKey()), errSignature},
		"key with an encryption algorithm":   {keySetOf(jwk(t, rsaKey().Public(), `"kid":"r","alg":"RSA-OAEP"`)), rs("", rsaKey()), errSignature},
		"key for encryption":                 {keySetOf(jwk(t, rsaKey().Public(), `"kid":"r","use":"enc"`)), rs("", rsaKey()), errUnknownKey},
		"key whose operation is another":     {keySetOf(jwk(t, rsaKey().Public(), `"kid":"r","key_ops":["encrypt"]`)), rs("", rsaKey()), errUnknownKey},
		"key without any operation":          {keySetOf(jwk(t, rsaKey().Public(), `"kid":"r","key_ops":[]`)), rs("", rsaKey()), errUnknownKey},
		"key whose operations are a string":  {keySetOf(jwk(t, rsaKey().Public(), `"kid":"r","key_ops":"verify"`)), rs("", rsaKey()), errUnknownKey},
		"RSA key with 1024 bits":             {keySetOf(jwk(t, rsaWeak().Public(), `"kid":"r"`)), rs("", rsaWeak()), errUnknownKey},
		"private key":                        {keySetOf(jwk(t, rsaKey(), `"kid":"r"`)), rs("", rsaKey()), errUnknownKey},
		"private key with HS256":             {keySetOf(jwk(t, rsaKey(), `"kid":"r"`)), sign(`{"alg":"HS256","kid":"r"}`, claims(""), pkix), errAlgorithm},
		"oct key":                            {keySetOf(jwk(t, []byte(secret), `"kid":"r"`)), sign(`{"alg":"HS256","kid":"r"}`, claims(""), secret), errAlgorithm},
		"oct key for RS256":                  {keySetOf(jwk(t, []byte(secret), `"kid":"r","alg":"RS256"`)), rs("", secret), errUnknownKey},
		"empty oct key":                      {keySetOf(`{"kty":"oct","k":"","kid":"r"}`), rs("", ""), errUnknownKey},
		"type of another use":                {keySetOf(public), rs(`,"typ":"logout+jwt"`, rsaKey()), errType},
		"type of another use, in full":       {keySetOf(public), rs(`,"typ":"Application/SecEvent+JWT"`, rsaKey()), errType},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, withKeys(t, c.set, both...), c.token, c.want)
		})
	}
	if asked > 0 {
		t.Errorf("the attacker's server was asked %d times", asked)
	}
}

func TestTokensWithASecretThatAreForged(t *testing.T) {
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"no signature":        {sign(`{"alg":"HS256"}`, claims(""), nil), errSignature},
		"alg none":            {sign(`{"alg":"none"}`, claims(""), nil), errAlgorithm},
		"empty secret":        {sign(`{"alg":"HS256"}`, claims(""), ""), errSignature},
		"another secret":      {sign(`{"alg":"HS256"}`, claims(""), "guess"), errSignature},
		"secret with newline": {sign(`{"alg":"HS256"}`, claims(""), secret+"\n"), errSignature},
		"HS512":               {sign(`{"alg":"HS512"}`, claims(""), secret), errAlgorithm},
		"RS256":               {sign(`{"alg":"RS256"}`, claims(""), rsaOther()), errAlgorithm},
		"RS256 with jwk":      {sign(`{"alg":"RS256","jwk":`+jwk(t, rsaOther().Public(), "")+`}`, claims(""), rsaOther()), errAlgorithm},
		"crit":                {sign(`{"alg":"HS256","crit":["b64"],"b64":false}`, claims(""), secret), errExtension},
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, withSecret(t), c.token, c.want) })
	}
}

func TestWhatAHeaderMayHold(t *testing.T) {
	for name, more := range map[string]string{
		"nothing more":              ``,
		"typ JWT":                   `,"typ":"JWT"`,
		"typ of an access token":    `,"typ":"at+jwt"`,
		"the same in full":          `,"typ":"application/at+jwt"`,
		"typ in another case":       `,"typ":"jwt"`,
		"a kid, though not needed":  `,"kid":"any"`,
		"a thumbprint":              `,"x5t":"AAAA"`,
		"a URL that nobody follows": `,"jku":"https://as.example/keys"`,
		"a key that nobody uses":    `,"jwk":` + jwk(t, rsaOther().Public(), ""),
		"what nobody knows":         `,"a":{"b":[1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			wantAccepted(t, withSecret(t), sign(`{"alg":"HS256"`+more+`}`, claims(""), secret))
		})
	}
}

// withSignature returns token with the signature that it had with another header.
func withSignature(token, header string, key any) string {
	input := token[:strings.LastIndexByte(token, '.')]
	return input + "." + encode(signature(header, input, key))
}

func template() *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
}
