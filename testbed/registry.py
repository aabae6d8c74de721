"""Names of components, as strings; looking one up imports nothing, constructing one imports its module."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from testbed.contracts import InvalidInput

KINDS = ("generators", "estimators", "evaluators")

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "generators": {
        "sparse_concepts": "generators.selection.sparse:SparseConcepts",
        "discrete_hierarchy": "generators.selection.discrete.family:DiscreteHierarchy",
        "random_hierarchy": "generators.selection.discrete.random_hierarchy:RandomHierarchy",
        "continuous_hierarchy": "generators.selection.continuous.family:ContinuousHierarchy",
        "classic_hierarchy": "generators.controls.classic_hierarchy:ClassicHierarchy",
        "joint_emission_twin": "generators.controls.joint_emission:JointEmissionTwin",
        "classic_states": "generators.controls.classic_states:ClassicStates",
        "joint_emission_states": "generators.controls.joint_emission_states:JointEmissionStates",
        "independent_concepts": "generators.controls.independent:IndependentConcepts",
        "correlated_concepts": "generators.controls.correlated:CorrelatedConcepts",
        "shuffled_levels": "generators.controls.shuffled_levels:ShuffledLevels",
        "twin_concepts": "generators.controls.twins:TwinConcepts",
        "pure_noise": "generators.controls.pure_noise:PureNoise",
        "unselected": "generators.controls.unselected:Unselected",
        "nonstationary_concepts": "generators.controls.nonstationary:NonstationaryConcepts",
        "held_out_tuples": "generators.controls.held_out_tuples:HeldOutTuples",
        "dialed": "generators.assumptions.dialed:Dialed",
        "synth_sae_bench": "generators.peers.synth_sae_bench:SynthSAEBench",
        "linear_representation_bench": "generators.peers.linear_representation_bench:LinearRepresentationBench",
        "consistency_dictionary": "generators.peers.consistency_dictionary:ConsistencyDictionary",
        "toy_superposition": "generators.peers.toy_superposition:ToySuperposition",
        "mechanism_sparsity": "generators.peers.mechanism_sparsity:MechanismSparsity",
        "latent_hierarchy": "generators.peers.latent_hierarchy:LatentHierarchy",
        "bare_concepts": "generators.bare_concepts:BareConcepts",
        "language_model": "generators.language_model:LanguageModel",
    },
    "estimators": {
        "topk_sae": "testbed.estimators.sparse.topk_sae:TopKSAE",
        "batch_topk_sae": "testbed.estimators.sparse.batch_topk_sae:BatchTopKSAE",
        "minimal_dictionary": "testbed.estimators.sparse.minimal_dictionary:MinimalDictionary",
        "context_states": "testbed.estimators.discrete.context_states:ContextStates",
        "selection_direction": "testbed.estimators.discrete.selection_direction:SelectionDirection",
        "latent_class": "testbed.estimators.discrete.latent_class:LatentClass",
        "vq_autoencoder": "testbed.estimators.discrete.vq_autoencoder:VQAutoencoder",
        "spectral_states": "testbed.estimators.discrete.spectral_states:SpectralStates",
        "nonnegative_states": "testbed.estimators.discrete.nonnegative_states:NonnegativeStates",
        "annealed_sae": "testbed.estimators.sparse.annealed_sae:AnnealedSAE",
        "matryoshka_sae": "testbed.estimators.sparse.matryoshka_sae:MatryoshkaSAE",
        "relu_sae": "testbed.estimators.sparse.relu_sae:ReLUSAE",
        "p_annealing_sae": "testbed.estimators.sparse.p_annealing_sae:PAnnealingSAE",
        "jump_relu_sae": "testbed.estimators.sparse.jump_relu_sae:JumpReLUSAE",
        "gated_sae": "testbed.estimators.sparse.gated_sae:GatedSAE",
        "pursuit_sae": "testbed.estimators.sparse.pursuit_sae:PursuitSAE",
        "lista_sae": "testbed.estimators.sparse.lista_sae:ListaSAE",
        "archetypal_sae": "testbed.estimators.sparse.archetypal_sae:ArchetypalSAE",
        "transcoder": "testbed.estimators.sparse.transcoder:Transcoder",
        "crosscoder": "testbed.estimators.sparse.crosscoder:Crosscoder",
        "jacobian_sae": "testbed.estimators.sparse.jacobian_sae:JacobianSAE",
        "pretrained_sae": "testbed.estimators.peers.pretrained:PretrainedSAE",
        "frozen_decoder_sae": "testbed.estimators.baselines.frozen_sae:FrozenDecoderSAE",
        "soft_frozen_decoder_sae": "testbed.estimators.baselines.frozen_sae:SoftFrozenDecoderSAE",
        "frozen_encoder_sae": "testbed.estimators.baselines.frozen_sae:FrozenEncoderSAE",
        "pca": "testbed.estimators.classical.pca:PCA",
        "fast_ica": "testbed.estimators.classical.fast_ica:FastICA",
        "nmf": "testbed.estimators.classical.nmf:NMF",
        "varimax": "testbed.estimators.classical.varimax:Varimax",
        "promax": "testbed.estimators.classical.promax:Promax",
        "sparse_pca": "testbed.estimators.classical.sparse_pca:SparsePCA",
        "dictionary_learning": "testbed.estimators.classical.dictionary_learning:DictionaryLearning",
        "k_means": "testbed.estimators.classical.k_means:KMeans",
        "ksvd": "testbed.estimators.classical.ksvd:KSVD",
        "vae": "testbed.estimators.nonlinear.vae:VAE",
        "pc": "testbed.estimators.graphs.pc:PC",
        "hierarchical_sae": "testbed.estimators.hierarchical.sae:HierarchicalSAE",
        "mixed_hierarchy_sae": "testbed.estimators.hierarchical.mixed:MixedHierarchySAE",
        "consensus_dictionary": "testbed.estimators.hierarchical.consensus_dictionary:ConsensusDictionary",
        "smallest_sufficient": "testbed.estimators.hierarchical.smallest_sufficient:SmallestSufficient",
        "correlation_edges": "testbed.estimators.hierarchical.correlated:CorrelationEdges",
        "regression_edges": "testbed.estimators.hierarchical.regression_edges:RegressionEdges",
        "adjacent_tests": "testbed.estimators.hierarchical.adjacent_tests:AdjacentTests",
        "edge_dictionary": "testbed.estimators.hierarchical.edge_dictionary:EdgeDictionary",
        "graph_of_codes": "testbed.estimators.graphs.graph_of_codes:GraphOfCodes",
        "latent_tree": "testbed.estimators.graphs.latent_tree:LatentTree",
        "tensor_decomposition": "testbed.estimators.graphs.tensor_decomposition:TensorDecomposition",
        "fci": "testbed.estimators.graphs.fci:FCI",
        "causal_learn": "testbed.estimators.graphs.causal_learn:CausalLearn",
        "hand_made": "testbed.estimators.baselines.hand_made:HandMade",
        "random_dictionary": "testbed.estimators.baselines.random_dictionary:RandomDictionary",
        "random_data_points": "testbed.estimators.baselines.random_data_points:RandomDataPoints",
        "identity": "testbed.estimators.baselines.identity:Identity",
        "raw_neurons": "testbed.estimators.baselines.raw_neurons:RawNeurons",
        "supervised_probe": "testbed.estimators.baselines.supervised_probe:SupervisedProbe",
        "bottleneck_hierarchy": "testbed.estimators.nonlinear.bottleneck_hierarchy:BottleneckHierarchy",
        "oracle_codes": "testbed.estimators.baselines.oracle_codes:OracleCodes",
        "oracle_dictionary": "testbed.estimators.baselines.oracle_dictionary:OracleDictionary",
    },
    "evaluators": {
        "decoder_mcc": "evaluators.dictionary.decoder_mcc:DecoderMCC",
        "atom_recall": "evaluators.dictionary.atom_recall:AtomRecall",
        "uniqueness": "evaluators.dictionary.uniqueness:Uniqueness",
        "splitting": "evaluators.dictionary.splitting:Splitting",
        "absorption": "evaluators.dictionary.absorption:Absorption",
        "hedging": "evaluators.dictionary.hedging:Hedging",
        "shrinkage": "evaluators.dictionary.shrinkage:Shrinkage",
        "activation_mcc": "evaluators.recovery.activation_mcc:ActivationMCC",
        "level_recovery": "evaluators.recovery.level_recovery:LevelRecovery",
        "partial_mcc": "evaluators.recovery.partial_mcc:PartialMCC",
        "support_recovery": "evaluators.recovery.support_recovery:SupportRecovery",
        "coverage": "evaluators.recovery.coverage:Coverage",
        "r2": "evaluators.recovery.r2:R2",
        "nonlinear_r2": "evaluators.recovery.nonlinear_r2:NonlinearR2",
        "dci": "evaluators.recovery.dci:DCI",
        "mig": "evaluators.recovery.mig:MIG",
        "sap": "evaluators.recovery.sap:SAP",
        "infomec": "evaluators.recovery.infomec:InfoMEC",
        "t_mex": "evaluators.recovery.t_mex:TMEX",
        "irs": "evaluators.recovery.irs:IRS",
        "explicitness": "evaluators.recovery.explicitness:Explicitness",
        "activation_f1": "evaluators.recovery.activation_f1:ActivationF1",
        "selection_shift": "evaluators.recovery.selection_shift:SelectionShift",
        "unseen_tuples": "evaluators.recovery.unseen_tuples:UnseenTuples",
        "verdict": "evaluators.verdict:Verdict",
        "explained_variance": "evaluators.unlabelled.explained_variance:ExplainedVariance",
        "l0": "evaluators.unlabelled.l0:L0",
        "dead_units": "evaluators.unlabelled.dead_units:DeadUnits",
        "dense_units": "evaluators.unlabelled.dense_units:DenseUnits",
        "density": "evaluators.unlabelled.density:Density",
        "description_length": "evaluators.unlabelled.description_length:DescriptionLength",
        "sparse_probing": "evaluators.labels.sparse_probing:SparseProbing",
        "label_hierarchy": "evaluators.labels.label_hierarchy:LabelHierarchy",
        "loss_recovered": "evaluators.unlabelled.loss_recovered:LossRecovered",
        "top_contexts": "evaluators.unlabelled.top_contexts:TopContexts",
        "dial_margins": "evaluators.theory.dial_margins:DialMargins",
        "state_recovery": "evaluators.discrete.state_recovery:StateRecovery",
        "state_count": "evaluators.discrete.state_count:StateCount",
        "table_recovery": "evaluators.discrete.table_recovery:TableRecovery",
        "held_out_likelihood": "evaluators.discrete.held_out_likelihood:HeldOutLikelihood",
        "node_recovery": "evaluators.graph.node_recovery:NodeRecovery",
        "edge_recovery": "evaluators.graph.edge_recovery:EdgeRecovery",
        "mag_recovery": "evaluators.graph.mag_recovery:MagRecovery",
        "intervention_distance": "evaluators.graph.intervention_distance:InterventionDistance",
        "ancestor_distance": "evaluators.graph.ancestor_distance:AncestorDistance",
        "direction": "evaluators.graph.direction:Direction",
        "graph_baselines": "evaluators.graph.graph_baselines:GraphBaselines",
        "seed_agreement": "evaluators.stability.seed_agreement:SeedAgreement",
        "code_agreement": "evaluators.stability.code_agreement:CodeAgreement",
        "subspace_angles": "evaluators.stability.subspace_angles:SubspaceAngles",
        "graph_agreement": "evaluators.stability.graph_agreement:GraphAgreement",
        "consensus": "evaluators.stability.consensus:Consensus",
    },
}

LOCAL: dict[str, type] = {}
"""Classes that live in no importable module (a notebook, a script), by path; only `testbed.compare` puts some here."""


class Names(dict[str, str]):
    """Names of a kind with their ``module:Class``.

    Attributes
    ----------
    packaged : set of str
        Those that installed packages offer by entry points.
    clashes : dict of str to str
        For each name that packages claim although it is built in, or another's, a sentence that says so.
    """

    packaged: set[str]
    clashes: dict[str, str]


@lru_cache
def names(kind: str) -> Names:
    """Registered names: built-in ones, then installed entry points that no two packages claim."""
    offered: dict[str, dict[str, str]] = {}
    for point in entry_points(group=f"testbed.{kind}"):
        owner = point.dist.name if point.dist is not None else point.value.partition(":")[0]
        offered.setdefault(point.name, {})[point.value] = f"package {owner} ({point.value})"
    found = Names(BUILT_IN[kind])
    found.clashes = {}
    for name, homes in offered.items():
        claims = " and ".join(homes.values())
        if name in BUILT_IN[kind]:
            found.clashes[name] = (
                f"{claims} claims the {kind[:-1]} name {name!r}, which is built in and stays so: name the package's by its module:Class"
            )
        elif len(homes) > 1:
            found.clashes[name] = (
                f"{claims} both claim the {kind[:-1]} name {name!r}: name the one that is meant by its module:Class, or uninstall the other"
            )
        else:
            found[name] = next(iter(homes))
    found.packaged = found.keys() - BUILT_IN[kind].keys()
    return found


def resolve(kind: str, name: str) -> str:
    """The ``module:Class`` that a name stands for; warns if a package claims a name that is built in.

    Raises
    ------
    InvalidInput
        If the name is neither registered nor of that form (the nearest name is offered), or two packages claim it.
    """
    known = names(kind)
    if name in known:
        if name in known.clashes:
            warnings.warn(known.clashes[name], stacklevel=2)
        return known[name]
    if name in known.clashes:
        raise InvalidInput(known.clashes[name])
    module, _, qualname = name.partition(":")
    if module and qualname and all(part.isidentifier() for part in [*module.split("."), *qualname.split(".")]):
        return name
    raise InvalidInput(f"there is no {kind[:-1]} {name!r}{suggest(name, known)}: `testbed list {kind}` shows them")


def load(path: str) -> type:
    """Import the class at ``module:Class``; the working folder is searched last.

    Raises
    ------
    InvalidInput
        If the module or the class is not there, or the module fails while it is imported.
    """
    if path in LOCAL:
        return LOCAL[path]
    search_working_folder()
    module, _, qualname = path.partition(":")
    try:
        target: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise InvalidInput(f"there is no module {missing!r}, named in {path!r}: is it installed, or in this folder?") from None
        raise InvalidInput(f"{path} needs the module {missing!r}, which is not installed") from error
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"{path} cannot be imported: {type(error).__name__}: {error}: mend its module") from error
    for part in qualname.split("."):
        if not hasattr(target, part):
            raise InvalidInput(f"module {module!r} has no class {qualname!r}{suggest(part, dir(target))}: name one that it defines")
        target = getattr(target, part)
    if not isinstance(target, type):
        raise InvalidInput(f"{path} is not a class: name a class, as module:Class")
    return target


def search_working_folder() -> None:
    """Append the working folder to the import path, last, so that it can never shadow an installed module."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)


def suggest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` where something close is known, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
