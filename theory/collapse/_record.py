"""The record of all collapse metrics: what each number is, and its text forms."""

from __future__ import annotations

from dataclasses import dataclass, fields

_TITLES = {
    "nc1_papyan": "Tr(Sw Sb^+) / K",
    "nc1_zhu": "the same about the sample mean",
    "nc1_ratio": "tr Sw / tr Sb",
    "nc1_cdnv": "class-distance normalized variance",
    "nc2_equinorm_means": "std/mean of centred mean norms",
    "nc2_equiangular_means": "std of cosines of means",
    "nc2_maximal_angle_means": "mean |cos + 1/(K-1)| of means",
    "nc2_etf_means": "Gram distance of means to simplex",
    "nc2_equinorm_classifier": "std/mean of classifier norms",
    "nc2_equiangular_classifier": "std of cosines of classifier",
    "nc2_maximal_angle_classifier": "mean |cos + 1/(K-1)| of classifier",
    "nc2_zhu": "Gram distance of classifier to simplex",
    "nc3_papyan": "|| W/|W| - M/|M| ||_F^2",
    "nc3_zhu": "distance of W M^T to simplex",
    "bias_collapse": "|| b + W mu_G ||",
    "nc4": "disagreement with nearest class mean",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapseMetrics:
    r"""Neural-collapse metrics; all are 0 at perfect collapse and all are a *measure*.

    With h_i the features, mu_k the class means, mu_G the global mean named by ``global_mean``, M the K x d
    matrix of rows mu_k - mu_G, K classes, N samples:
    Sw = (1/N) sum_i (h_i - mu_{y_i})(h_i - mu_{y_i})^T and Sb = (1/K) M^T M.
    Standard deviations divide by the number of items (``ddof=0``); with ``ddof=1``, as some programs do,
    equinorm is larger by the factor sqrt(K/(K-1)). Fields of the classifier are None where none was given.
    A number that is undefined, such as a cosine with a zero vector, is NaN and never rounding noise.

    Attributes
    ----------
    num_samples, num_classes, dimension : N, K, d.
    global_mean : ``class`` (mean of the class means) or ``sample`` (mean of all samples).
    rank : rank of Sb that was used, at most min(K-1, d); below that, some class means are affinely dependent.
    rank_tolerance : singular values of M up to this count as zero:
        eps max(max(K, d) s_1, 8 ||means||_F), the second term for digits lost to a large common offset.
    nc1_papyan : Tr(Sw Sb^+) / K (papyan2020prevalence).
    nc1_zhu : the same with Sb about the **sample** mean whatever ``global_mean`` says (zhu2021geometric,
        as in its program); equal to ``nc1_papyan`` for equal counts or ``global_mean="sample"``, never
        larger otherwise.
    nc1_ratio : tr Sw / tr Sb; needs no inverse, and weighs well separated classes more.
    nc1_cdnv : mean over pairs of (v_i + v_j) / (2 ||mu_i - mu_j||^2), v_k = mean ||h - mu_k||^2 over class k
        (galanti2022role); infinite where two class means coincide.
    nc2_equinorm_means : std/mean of ||mu_k - mu_G|| (papyan2020prevalence).
    nc2_equiangular_means : std over pairs of cos(mu_k - mu_G, mu_j - mu_G) (papyan2020prevalence).
    nc2_maximal_angle_means : mean over pairs of |cos + 1/(K-1)| (papyan2020prevalence).
    nc2_etf_means : Frobenius distance of M M^T/||.||_F to the simplex (form of zhu2021geometric).
    nc2_equinorm_classifier, nc2_equiangular_classifier, nc2_maximal_angle_classifier : the same of the
        rows of W.
    nc2_zhu : Frobenius distance of W W^T/||.||_F to (I - 11^T/K)/sqrt(K-1) (zhu2021geometric).
    nc3_papyan : || W/||W||_F - M/||M||_F ||_F^2 (papyan2020prevalence).
    nc3_zhu : || W M^T/||.||_F - (I - 11^T/K)/sqrt(K-1) ||_F, M about the **sample** mean (zhu2021geometric).
    bias_collapse : || b + W mu_G ||_2 (zhu2021geometric); an absent bias is zero. Not free of scale.
    nc4 : share of samples where argmax(W h + b) is not the nearest class mean (papyan2020prevalence); ties
        take the lowest class.
    """

    num_samples: int
    num_classes: int
    dimension: int
    global_mean: str
    rank: int
    rank_tolerance: float
    nc1_papyan: float
    nc1_zhu: float
    nc1_ratio: float
    nc1_cdnv: float
    nc2_equinorm_means: float
    nc2_equiangular_means: float
    nc2_maximal_angle_means: float
    nc2_etf_means: float
    nc2_equinorm_classifier: float | None = None
    nc2_equiangular_classifier: float | None = None
    nc2_maximal_angle_classifier: float | None = None
    nc2_zhu: float | None = None
    nc3_papyan: float | None = None
    nc3_zhu: float | None = None
    bias_collapse: float | None = None
    nc4: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return a dictionary of plain numbers and strings, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def summary(self) -> str:
        """Return a table of name, value and meaning, without the classifier where there is none."""
        lines = [
            f"{self.num_samples} samples, {self.num_classes} classes, dimension {self.dimension}; "
            f"global mean: {self.global_mean}; rank of Sb: {self.rank}"
        ]
        for name, title in _TITLES.items():
            value = getattr(self, name)
            if value is not None:
                lines.append(f"{name:<29}{value:>14.6g}   {title}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"CollapseMetrics(N={self.num_samples}, K={self.num_classes}, nc1_papyan={self.nc1_papyan:.4g})"
        )
