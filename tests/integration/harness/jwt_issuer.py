"""An issuer of JSON Web Tokens, by PyJWT and cryptography, and a forger of tokens that no issuer makes."""

import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

ISSUER = "https://issuer.example.org"
AUDIENCE = "regroup"
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi")


def encode(content):
    """Returns bytes, or an object as JSON, in base64url without padding."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Key:
    """A private key with its id; `algorithm` is RS256 or ES256."""

    def __init__(self, key_id, algorithm="RS256", bits=2048):
        self.key_id, self.algorithm = key_id, algorithm
        self.private = (rsa.generate_private_key(public_exponent=65537, key_size=bits) if algorithm.startswith("RS")
                        else ec.generate_private_key(ec.SECP256R1()))

    def public_pem(self):
        return self.private.public_key().public_bytes(serialization.Encoding.PEM,
                                                      serialization.PublicFormat.SubjectPublicKeyInfo)

    def web_key(self):
        """Returns the public key as a JSON Web Key."""
        maker = jwt.algorithms.RSAAlgorithm if self.algorithm.startswith("RS") else jwt.algorithms.ECAlgorithm
        key = maker.to_jwk(self.private.public_key(), as_dict=True)
        assert not set(_PRIVATE_MEMBERS) & set(key)
        key.pop("key_ops", None)
        return {**key, "kid": self.key_id, "use": "sig", "alg": self.algorithm}

    def sign(self, claims, headers=None, algorithm=None):
        return jwt.encode(claims, self.private, algorithm=algorithm or self.algorithm,
                          headers={"kid": self.key_id, **(headers or {})})

    def sign_parts(self, header, claims_text):
        """Signs any header and any text, which PyJWT would refuse to."""
        text = f"{encode(header)}.{encode(claims_text.encode())}"
        signer = jwt.get_algorithm_by_name(self.algorithm)
        return f"{text}.{encode(signer.sign(text.encode(), self.private))}"


def key_set(*keys):
    return json.dumps({"keys": [key.web_key() for key in keys]})


def claims(now=None, **changes):
    """Returns the claims of alice, valid for ten minutes, with changes; None removes a claim."""
    now = int(now or time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "nbf": now, "exp": now + 600, **changes}
    return {name: value for name, value in made.items() if value is not None}


def service_account(namespace, name, pod, **changes):
    """Returns the claims of a projected token as Kubernetes issues it."""
    return claims(sub=f"system:serviceaccount:{namespace}:{name}", aud=[AUDIENCE], jti="0d4c8b0e",
                  **{"kubernetes.io": {"namespace": namespace, "node": {"name": "node-1", "uid": "1"},
                                       "pod": {"name": pod, "uid": "2"},
                                       "serviceaccount": {"name": name, "uid": "3"}}}, **changes)


def forgeries(rsa_key, ec_key, stranger):
    """Returns tokens by what is wrong with them. `stranger` has the id of `rsa_key` and is another key."""
    good = claims(groups=["admins"])
    text = json.dumps(good)
    header = {"alg": "RS256", "typ": "JWT", "kid": rsa_key.key_id}
    valid = rsa_key.sign(good)
    first, second, third = valid.split(".")
    ec_first, ec_second, ec_third = ec_key.sign(good).split(".")
    r_and_s = decode(ec_third)

    def by_secret(secret, algorithm="HS256"):
        signed = f"{encode({**header, 'alg': algorithm})}.{encode(good)}"
        return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    def without_signature(algorithm, end=""):
        return f"{encode({**header, 'alg': algorithm})}.{encode(good)}.{end}"

    made = {
        **{f"algorithm {name}": without_signature(name) for name in ("none", "None", "NONE", "", "RS256", "ES256")},
        "algorithm none with a signature": without_signature("none", third),
        "no algorithm": rsa_key.sign_parts({"kid": rsa_key.key_id}, text),
        "HS256 with the public key as PEM": by_secret(rsa_key.public_pem()),
        "HS256 with the web key": by_secret(json.dumps(rsa_key.web_key()).encode()),
        "HS256 with the modulus": by_secret(decode(rsa_key.web_key()["n"])),
        "HS256 without a secret": by_secret(b""),
        **{f"the right key by {name}": rsa_key.sign(good, algorithm=name) for name in ("RS384", "RS512", "PS256")},
        "RS256 in the header, HS256 in truth": by_secret(rsa_key.public_pem(), "RS256"),
        "ES256 named, signed by RSA": rsa_key.sign_parts({**header, "alg": "ES256"}, text),
        "RS256 named, signed on a curve": ec_key.sign_parts({**header, "kid": ec_key.key_id}, text),
        "the id of the other kind of key": rsa_key.sign_parts({**header, "kid": ec_key.key_id}, text),
        "another key with the same id": stranger.sign(good),
        "an unknown id": rsa_key.sign(good, {"kid": "unknown"}),
        "no id, though there are two keys": rsa_key.sign_parts({"alg": "RS256"}, text),
        **{f"the id {name!r}": rsa_key.sign_parts({**header, "kid": name}, text)
           for name in ("../../../../dev/null", "/etc/passwd", "' OR '1'='1", "$(id)", "", "\u0000", 7, None, ["a"], {})},
        "a critical extension": rsa_key.sign(good, {"crit": ["exp"], "exp": 1}),
        "an empty list of critical extensions": rsa_key.sign_parts({**header, "crit": []}, text),
        "an unencoded payload": rsa_key.sign_parts({**header, "b64": False}, text),
        "its own key": stranger.sign(good, {"jwk": stranger.web_key()}),
        "the address of its key": stranger.sign(good, {"jku": "http://127.0.0.1:1/keys"}),
        "the address of its certificate": stranger.sign(good, {"x5u": "file:///etc/passwd"}),
        "its own certificate": stranger.sign(good, {"x5c": ["MIIB"]}),
        "compression": rsa_key.sign_parts({**header, "zip": "DEF"}, text),
        "a token inside": rsa_key.sign_parts({**header, "cty": "JWT"}, text),
        "the type of a logout token": rsa_key.sign(good, {"typ": "logout+jwt"}),
        "claims of another": f"{first}.{encode({**good, 'sub': 'root'})}.{third}",
        "a shorter signature": valid[:-4],
        "a longer signature": valid + "AAAA",
        "another last bit of the signature": valid[:-1] + chr(ord(valid[-1]) + 1),
        "padding": f"{first}.{second}.{third}==",
        "numbers 0 on the curve": f"{ec_first}.{ec_second}.{encode(bytes(64))}",
        "the signature of a curve as DER": f"{ec_first}.{ec_second}.{encode(_der(r_and_s))}",
        "r and s exchanged": f"{ec_first}.{ec_second}.{encode(r_and_s[32:] + r_and_s[:32])}",
        "two parts": f"{first}.{second}", "four parts": f"{valid}.{third}", "five parts": f"{valid}.{third}.{third}",
        "nothing but dots": "..", "claims that are a list": rsa_key.sign_parts(header, json.dumps([good])),
        "claims that are text": rsa_key.sign_parts(header, "regroup"),
        "a name twice": rsa_key.sign_parts(header, text[:-1] + ', "sub": "root"}'),
        "deep nesting": rsa_key.sign_parts(header, text[:-1] + ', "a": ' + "[" * 900 + "]" * 900 + "}"),
        "more bytes than allowed": rsa_key.sign({**good, "padding": "x" * 8192}),
    }
    now = time.time()
    for name, changes in {
            "expired": {"exp": now - 61}, "without exp": {"exp": None}, "from the future": {"iat": now + 3600},
            "not valid yet": {"nbf": now + 3600}, "from another issuer": {"iss": "https://other.example.org"},
            "from an issuer with a slash": {"iss": ISSUER + "/"}, "without issuer": {"iss": None},
            "for another audience": {"aud": "other"}, "for a list of others": {"aud": ["other", "regroup2"]},
            "without audience": {"aud": None}, "for nobody": {"aud": []}}.items():
        made[name] = rsa_key.sign({claim: value for claim, value in {**good, **changes}.items() if value is not None})
    made["exp as text"] = rsa_key.sign_parts(header, json.dumps({**good, "exp": str(int(now) + 600)}))
    made["exp beyond all numbers"] = rsa_key.sign_parts(header, text.replace(str(good["exp"]), "1e999"))
    return made


def _der(r_and_s):
    return encode_dss_signature(int.from_bytes(r_and_s[:32], "big"), int.from_bytes(r_and_s[32:], "big"))
