package httpfilter

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"math/big"
	"strings"
)

const maxKeys = 64

type jwk struct {
	Kty, Kid, Alg, Crv, N, E, X, Y string
}

// verifyJWKS checks a token's signature against a set of public keys: those of its kid, or all where either has none.
// known is false where the algorithm is one that is not evaluated here.
func verifyJWKS(set string, t *token) (known bool, status, why string) {
	var ks struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal([]byte(set), &ks); err != nil {
		return false, "", "the provider's keys are not a JSON key set"
	}
	alg, _ := t.header["alg"].(string)
	kid, _ := t.header["kid"].(string)
	var newHash func() hash.Hash
	var kind crypto.Hash
	switch {
	case strings.HasSuffix(alg, "256"):
		newHash, kind = sha256.New, crypto.SHA256
	case strings.HasSuffix(alg, "384"):
		newHash, kind = sha512.New384, crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		newHash, kind = sha512.New, crypto.SHA512
	case alg == "EdDSA":
	default:
		return false, "", fmt.Sprintf("tokens signed with %q are not checked here", alg)
	}
	if strings.HasPrefix(alg, "HS") {
		return false, "", "tokens signed with a shared secret are not checked here"
	}
	matched := false
	for i, k := range ks.Keys {
		if i == maxKeys {
			break
		}
		if kid != "" && k.Kid != "" && k.Kid != kid || k.Alg != "" && k.Alg != alg {
			continue
		}
		ok, fits := k.verify(alg, kind, newHash, t)
		matched = matched || fits
		if ok {
			return true, jwtOK, ""
		}
	}
	if !matched {
		return true, jwtNoKey, ""
	}
	return true, jwtSignature, ""
}

func b64(s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil
	}
	return b
}

// verify says whether the key signed the token, and whether it is a key for that algorithm at all.
func (k *jwk) verify(alg string, kind crypto.Hash, newHash func() hash.Hash, t *token) (ok, fits bool) {
	var sum []byte
	if newHash != nil {
		h := newHash()
		h.Write([]byte(t.signed))
		sum = h.Sum(nil)
	}
	switch {
	case strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS"):
		n, e := b64(k.N), b64(k.E)
		if k.Kty != "RSA" || len(n) < 128 || len(n) > 2048 || len(e) == 0 || len(e) > 4 {
			return false, false
		}
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if strings.HasPrefix(alg, "RS") {
			return rsa.VerifyPKCS1v15(pub, kind, sum, t.sig) == nil, true
		}
		return rsa.VerifyPSS(pub, kind, sum, t.sig, nil) == nil, true
	case strings.HasPrefix(alg, "ES"):
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
		want := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[alg]
		if k.Kty != "EC" || curve == nil || k.Crv != want {
			return false, false
		}
		size := (curve.Params().BitSize + 7) / 8
		x, y := b64(k.X), b64(k.Y)
		if len(x) > size || len(y) > size {
			return false, false
		}
		raw := make([]byte, 1+2*size)
		raw[0] = 4
		copy(raw[1+size-len(x):], x)
		copy(raw[1+2*size-len(y):], y)
		pub, err := ecdsa.ParseUncompressedPublicKey(curve, raw)
		if err != nil {
			return false, false
		}
		if len(t.sig) != 2*size {
			return false, true
		}
		return ecdsa.Verify(pub, sum, new(big.Int).SetBytes(t.sig[:size]), new(big.Int).SetBytes(t.sig[size:])), true
	case alg == "EdDSA":
		x := b64(k.X)
		if k.Kty != "OKP" || k.Crv != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return false, false
		}
		return ed25519.Verify(x, []byte(t.signed), t.sig), true
	default:
		return false, false
	}
}
